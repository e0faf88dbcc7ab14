//! Hashes the compiler's sources, so that text made by another one is never taken for its own.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let mut files = Vec::new();
    // The layouts that text relies on are there in a checkout; a published package pins their version.
    for dir in [package.join("src"), package.join("../gate-wire/src")] {
        println!("cargo::rerun-if-changed={}", dir.display());
        collect(&dir, &mut files);
    }
    files.sort();

    let mut hasher = blake3::Hasher::new();
    for file in files {
        let contents = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        hasher.update(blake3::hash(&contents).as_bytes());
    }
    println!("cargo::rustc-env=GATE_COMPILER_SOURCES={}", hasher.finalize());
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
