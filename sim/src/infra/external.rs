//! Servers that somebody runs.

use chassis::Servers;

/// # Errors
/// When it could not be part of a database's or a stream's name.
pub fn namespace(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// # Errors
/// One line that names what the environment lacks.
pub fn from_env(_create: bool, _namespace: &str) -> Result<Servers, String> {
    Err("not built".into())
}

/// # Errors
/// One line that names the URL that is wrong, and how.
pub async fn check(_servers: &Servers) -> Result<(), String> {
    Err("not built".into())
}
