//! Finds out which version of Cranelift is built in, for `gate --version`.

use std::fs;
use std::path::Path;

fn main() {
    // The workspace asks for one version exactly: what it says is what is built in.
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    println!("cargo::rerun-if-changed={}", manifest.display());
    let text = fs::read_to_string(&manifest).expect("the workspace has a manifest");
    let version = text
        .lines()
        .find(|line| line.starts_with("cranelift-codegen"))
        .and_then(|line| line.split('"').find_map(|part| part.strip_prefix('=')))
        .expect("the workspace names the exact version of cranelift-codegen");
    println!("cargo::rustc-env=GATE_CRANELIFT_VERSION={version}");
}
