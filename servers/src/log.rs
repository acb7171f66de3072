//! What a server says.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::failure::{ServerError, elsewhere, failed};

/// A log that is longer is begun anew when its server starts.
const LENGTH_MAX: u64 = 4 << 20;
/// Where the reason of a failure is looked for.
const TAIL: u64 = 64 << 10;
const SILENT: &str = "it said nothing";

/// The file that a server writes what it has to say to.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub path: PathBuf,
    /// Where a copy goes if the server does not start, because this file does not stay.
    pub copy: Option<PathBuf>,
}

impl Log {
    /// Opens it for writing; also says how long it is.
    pub(crate) fn open(&self) -> Result<(File, u64), ServerError> {
        let open = || {
            let file = File::options().create(true).append(true).mode(0o600).open(&self.path)?;
            file.set_permissions(PermissionsExt::from_mode(0o600))?;
            if file.metadata()?.len() > LENGTH_MAX {
                file.set_len(0)?;
            }
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        open().map_err(|error: std::io::Error| failed(&self.path, &error))
    }

    /// The end of what was written after the first `since` bytes.
    pub(crate) fn said_since(&self, since: u64) -> String {
        let read = || {
            let mut file = File::open(&self.path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(since.max(length.saturating_sub(TAIL))))?;
            let mut said = Vec::new();
            file.take(TAIL).read_to_end(&mut said)?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&said).into_owned())
        };
        read().unwrap_or_default()
    }

    /// Why a server is not there: what happened, the line that says why, the log, what to do.
    pub(crate) fn explain(&self, what: &str, since: u64) -> ServerError {
        let said = self.said_since(since);
        let reason = reason(&said);
        let copied = self.copy.as_ref().filter(|copy| std::fs::copy(&self.path, copy).is_ok());
        let log = copied.unwrap_or(&self.path);
        ServerError(format!("{what}: {reason} (log: {}){}", log.display(), advice(reason, log)))
    }
}

/// The last line that complains; otherwise the last.
fn reason(said: &str) -> &str {
    let complains =
        |line: &&str| ["FATAL", "PANIC", "ERROR", "rror:", "[FTL]", "[ERR]"].iter().any(|word| line.contains(word));
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    lines().rfind(complains).or_else(|| lines().next_back()).unwrap_or(SILENT)
}

fn advice(reason: &str, log: &Path) -> String {
    let reason = reason.to_lowercase();
    let says = |text: &str| reason.contains(text);
    if says("no space left on device") {
        format!("; free some disk space, or {}", elsewhere(log))
    } else if says("permission denied") || says("read-only file system") {
        format!("; {}", elsewhere(log))
    } else if says("address already in use") {
        "; try again".into()
    } else if says("cannot allocate memory") || says("out of memory") {
        "; free some memory".into()
    } else if reason == SILENT {
        "; see whether there is space left on the disk".into()
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_complains_is_the_reason() {
        let said = "LOG: starting\ninitdb: error: could not create directory \"x\": No space left on device\n\
                    initdb: removing data directory \"x\"\n\n";
        assert!(reason(said).starts_with("initdb: error: could not create"), "{}", reason(said));
        assert!(advice(reason(said), Path::new("/kept/x.log")).ends_with("disk space, or choose another folder"));
        assert_eq!((reason("one\n two \n\n"), reason("")), ("two", "it said nothing"));
    }

    #[test]
    fn an_explanation_tells_where_the_log_is_that_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("a.log"), folder.path().join("copy.log"));
        std::fs::write(&path, "before\n[FTL] no such thing\n").unwrap();
        let log = Log { path: path.clone(), copy: None };
        assert_eq!(
            log.explain("nats ended", 7).to_string(),
            format!("nats ended: [FTL] no such thing (log: {})", path.display())
        );
        let log = Log { path, copy: Some(copy.clone()) };
        assert!(log.explain("nats ended", 0).to_string().contains("copy.log") && copy.exists());
    }
}
