//! Compiles the `.proto` files with protox, so that no `protoc` is needed on the machine.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let files = ["user", "product", "order", "payment", "inventory", "acquirer"]
        .map(|service| root.join(format!("{service}/v1/{service}.proto")));
    println!("cargo:rerun-if-changed=.");
    let descriptors = protox::compile(&files, [&root])?;
    let encoded = PathBuf::from(std::env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(encoded, descriptors.encode_to_vec())?;
    tonic_prost_build::configure().build_transport(false).btree_map(".").compile_fds(descriptors)?;
    Ok(())
}
