//! The user that PostgreSQL runs as: it refuses to be root.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use rustix::process::geteuid;

use crate::failure::{ServerError, elsewhere, failed};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// The system's `postgres` if we are root; `None`: ourselves.
    pub(crate) fn for_postgres() -> Result<Option<Self>, ServerError> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        Self::listed(&users).map(Some).ok_or_else(|| {
            ServerError(
                "PostgreSQL does not run as root, and there is no user `postgres` to run it as; \
                 on Debian: apt-get install postgresql"
                    .into(),
            )
        })
    }

    fn listed(users: &str) -> Option<Self> {
        users.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            match fields.as_slice() {
                ["postgres", _, uid, gid, ..] => Some(Self { uid: uid.parse().ok()?, gid: gid.parse().ok()? }),
                _ => None,
            }
        })
    }

    /// Makes a file or folder this user's.
    pub(crate) fn give(&self, path: &Path) -> Result<(), ServerError> {
        chown(path, Some(self.uid), Some(self.gid)).map_err(|error| failed(path, &error))
    }

    /// What goes before a program's own arguments, so that it runs as this user, without our environment.
    pub(crate) fn setpriv(&self) -> Vec<OsString> {
        let user = [format!("--reuid={}", self.uid), format!("--regid={}", self.gid)];
        let rest = ["--clear-groups", "--reset-env"].map(str::to_owned);
        user.into_iter().chain(rest).map(OsString::from).collect()
    }

    /// Whether this user gets to the folder at all: everything on the way must let it pass.
    pub(crate) fn can_reach(&self, folder: &Path) -> Result<(), ServerError> {
        for step in folder.ancestors() {
            let found = fs::metadata(step).map_err(|error| failed(step, &error))?;
            if !self.passes(found.mode(), found.uid(), found.gid()) {
                return Err(ServerError(format!(
                    "{}: PostgreSQL runs as the user `postgres`, because it refuses to be root, and that user may \
                     not pass through {}; {}",
                    folder.display(),
                    step.display(),
                    elsewhere(folder)
                )));
            }
        }
        Ok(())
    }

    fn passes(&self, mode: u32, owner: u32, group: u32) -> bool {
        let bit = if owner == self.uid {
            0o100
        } else if group == self.gid {
            0o010
        } else {
            0o001
        };
        mode & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTGRES: User = User { uid: 105, gid: 114 };

    #[test]
    fn the_system_s_postgres_is_found_among_other_users() {
        let users = "root:x:0:0:root:/root:/bin/bash\npostgresql:x:1:1::/:/x\npostgres:x:105:114:,,,:/var:/bin/bash\n";
        assert_eq!(User::listed(users), Some(POSTGRES));
        assert_eq!(User::listed("root:x:0:0:root:/root:/bin/bash\npostgres:x\n"), None);
    }

    #[test]
    fn a_folder_lets_those_pass_whom_its_mode_names() {
        assert!(POSTGRES.passes(0o711, 0, 0) && !POSTGRES.passes(0o700, 0, 0) && !POSTGRES.passes(0o770, 0, 0));
        assert!(POSTGRES.passes(0o700, 105, 0) && POSTGRES.passes(0o710, 0, 114));
        assert!(!POSTGRES.passes(0o077, 105, 0) && !POSTGRES.passes(0o701, 0, 114), "the nearest class counts");
    }

    #[test]
    fn the_first_folder_that_is_closed_is_named() {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
        let open = folder.path().join("open");
        fs::DirBuilder::new().mode(0o711).create(&open).unwrap();
        let nobody = User { uid: 65_533, gid: 65_533 };
        let said = nobody.can_reach(&open).unwrap_err().to_string();
        assert!(said.contains(&format!("pass through {}; choose", folder.path().display())), "{said}");
    }
}
