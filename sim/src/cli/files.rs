//! Files that a command writes at its end, and opens before it begins.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

/// Opens a file to be written later: what is in it stays until then.
pub fn open_untouched(path: &Path) -> Result<File, String> {
    let opened = File::options().write(true).create(true).truncate(false).open(path);
    opened.map_err(|error| format!("error: {}: {error}", path.display()))
}

/// Replaces what is in the file.
pub fn write_whole(file: &mut File, text: &str) -> std::io::Result<()> {
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    file.write_all(text.as_bytes())
}
