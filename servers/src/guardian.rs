//! A small process that outlives its owner and then ends the owner's servers at once: nothing that
//! the owner does, or has done to it, prevents that. Should both be killed together, the next
//! [sweep](crate::folder) does it.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::failure::{ServerError, failed};
use crate::wait;

const SCRIPT: &str = include_str!("guardian.sh");

/// The script in the folder, which a guardian's command line names.
pub(crate) fn script(folder: &Path) -> PathBuf {
    folder.join("guardian.sh")
}

pub(crate) struct Guardian {
    child: Child,
}

impl Guardian {
    /// Sets a guardian over the servers of `folder`; `remove`: the folder goes with them.
    pub(crate) fn set(folder: &Path, remove: bool) -> Result<Self, ServerError> {
        let script = script(folder);
        fs::write(&script, SCRIPT).map_err(|error| failed(&script, &error))?;
        let child = Command::new("/bin/sh")
            .arg(script)
            .arg(if remove { "remove" } else { "keep" })
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .current_dir("/")
            // Its end of this pipe is what it waits on; ours is closed when this process is gone.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal goes to the foreground's processes.
            .process_group(0)
            .spawn()
            .map_err(|error| ServerError(format!("/bin/sh, which tidies up after the servers: {error}")))?;
        Ok(Self { child })
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.child.stdin.take() {
            // One that was killed needs no farewell.
            let _ = stdin.write_all(b"farewell\n");
        }
        let ended = wait::until(Duration::from_secs(2), || !matches!(self.child.try_wait(), Ok(None)));
        if !ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
