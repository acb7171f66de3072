//! Prints the API's description: `cargo run -p gateway --example openapi > docs/api/openapi.json`.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(gateway::openapi().as_bytes())
}
