//! Generates `src/generated/` from the `.proto` files: `make proto-gen`. protox compiles them, so that no `protoc` is
//! needed on the machine. The result is checked in, so that a build of the shop compiles no generator.

use std::error::Error;
use std::path::Path;
use std::{fs, io};

use prost::Message as _;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const CONTRACTS: [&str; 6] = ["user", "product", "order", "payment", "inventory", "acquirer"];
const CHECKED_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/generated");

fn main() -> Result<(), Box<dyn Error>> {
    // Generated beside the old files first, so that a contract that does not compile leaves them as they are.
    let fresh = tempfile::tempdir_in(ROOT)?;
    generate(fresh.path())?;
    match fs::remove_dir_all(CHECKED_IN) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(fs::rename(fresh.keep(), CHECKED_IN)?),
    }
}

/// Writes one Rust file a package, and all contracts as one encoded `FileDescriptorSet`.
fn generate(folder: &Path) -> Result<(), Box<dyn Error>> {
    let root = Path::new(ROOT);
    let files = CONTRACTS.map(|service| root.join(format!("{service}/v1/{service}.proto")));
    let descriptors = protox::compile(files, [root])?;
    fs::write(folder.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().build_transport(false).btree_map(".").out_dir(folder).compile_fds(descriptors)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap()))
            .collect()
    }

    #[test]
    fn the_code_that_is_checked_in_is_that_of_the_contracts() {
        let fresh = tempfile::tempdir().unwrap();
        generate(fresh.path()).unwrap();
        let (kept, fresh) = (files(Path::new(CHECKED_IN)), files(fresh.path()));
        let names = kept.keys().chain(fresh.keys());
        let mut stale: Vec<&String> = names.filter(|name| kept.get(*name) != fresh.get(*name)).collect();
        stale.dedup();
        assert!(stale.is_empty(), "stale in proto/src/generated: {stale:?}; renew it: make proto-gen");
    }
}
