//! Paths that do not leave the directory from which they begin.
//!
//! The kernel sees to it (`openat2` with `RESOLVE_BENEATH`): neither `..`, nor a symbolic link, nor somebody who moves
//! directories about at the same time leads out. Operations for which there is no such flag get the parent directory,
//! opened in that way, and a single name in it, at which no link is followed.

use crate::errno::Errno;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno as HostErrno;
use std::os::fd::{AsFd, OwnedFd};

/// Longest path, as `PATH_MAX` elsewhere.
pub(crate) const MAX_PATH: u32 = 4096;

/// How often a path is looked up again because somebody moves directories meanwhile.
const MAX_ATTEMPTS: u32 = 64;

/// Opens what a path leads to. `EPERM` if it leads out of the directory.
pub(crate) fn open(dir: impl AsFd, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..MAX_ATTEMPTS {
        match openat2(dir.as_fd(), path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(HostErrno::AGAIN | HostErrno::INTR) => {}
            Err(HostErrno::XDEV) => return Err(Errno::Perm),
            result => return Ok(result?),
        }
    }
    Err(Errno::Again)
}

/// Opens what a path leads to for being looked at, not for reading or writing.
pub(crate) fn locate(dir: impl AsFd, path: &[u8], follow: bool) -> Result<OwnedFd, Errno> {
    let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    open(dir, path, OFlags::PATH | nofollow, Mode::empty())
}

/// Opens the directory in which the last component of a path is.
///
/// The component keeps slashes that follow it, which make the system insist on a directory. Where it would be the
/// parent of something, it is `.`: no operation on names does anything to that.
pub(crate) fn parent(dir: impl AsFd, path: &[u8]) -> Result<(OwnedFd, Vec<u8>), Errno> {
    let end = path.iter().rposition(|&b| b != b'/').map_or(0, |last| last + 1);
    let start = path[..end].iter().rposition(|&b| b == b'/').map_or(0, |slash| slash + 1);
    let (directory, name) = match &path[start..end] {
        // Only slashes: outside, as any absolute path.
        b"" => return Err(Errno::Perm),
        b"." | b".." => (path, &b"."[..]),
        _ if start == 0 => (&b"."[..], path),
        _ => path.split_at(start),
    };
    Ok((open(dir, directory, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?, name.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustix::fs::{CWD, fstat, openat};
    use std::fs;
    use std::os::unix::fs::symlink;

    fn tree() -> (tempfile::TempDir, OwnedFd) {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(temp.path().join("secret"), "").unwrap();
        fs::write(root.join("a/file"), "").unwrap();
        for (target, link) in [("../..", "a/out"), ("/", "a/top"), ("../a", "a/in"), ("loop", "loop")] {
            symlink(target, root.join(link)).unwrap();
        }
        let fd = openat(CWD, &root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (temp, fd)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_path_leads_out(parts in prop::collection::vec(
            prop::sample::select(vec!["", ".", "..", "a", "b", "file", "out", "top", "in", "loop", "root", "secret", "etc"]),
            1..9,
        )) {
            let (temp, root) = tree();
            let path = parts.join("/");
            let inside: Vec<u64> = ["root", "root/a", "root/a/b", "root/a/file", "root/a/out", "root/a/top", "root/a/in", "root/loop"]
                .map(|path| rustix::fs::lstat(temp.path().join(path)).unwrap().st_ino)
                .into();
            for follow in [false, true] {
                if let Ok(found) = locate(&root, path.as_bytes(), follow) {
                    prop_assert!(inside.contains(&fstat(found).unwrap().st_ino), "{path}");
                }
            }
            if let Ok((dir, name)) = parent(&root, path.as_bytes()) {
                prop_assert!(inside.contains(&fstat(dir).unwrap().st_ino), "{path}");
                prop_assert!(!name.starts_with(b"..") && !name.starts_with(b"/"), "{path}");
                prop_assert!(!String::from_utf8(name).unwrap().trim_end_matches('/').contains('/'), "{path}");
            }
        }
    }
}
