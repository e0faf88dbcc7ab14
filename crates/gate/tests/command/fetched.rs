//! What `tools/fetch-programs` fetches.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Fetches some of it, or all, and tells where it is.
pub(crate) fn fetch(what: &[&str]) -> PathBuf {
    let output = Command::new(source("tools/fetch-programs")).args(what).output().expect("fetch programs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| source("target"), PathBuf::from);
    target.join("programs/fetched")
}

/// A file of the repository.
pub(crate) fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}
