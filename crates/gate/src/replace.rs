//! Files that are written as a whole or not at all.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A file that takes the place of another one when it is complete.
///
/// Until then it has no name, or one of its own where the file system needs that. If the process is killed, the old file
/// is still there; and so is the new one after [`Replacement::commit`], even if the power fails.
#[derive(Debug)]
pub(crate) struct Replacement {
    file: File,
    place: Place,
    cancel: Cancel,
}

#[derive(Debug)]
enum Place {
    /// Not a regular file, which cannot be replaced: a device, a pipe, standard output.
    Itself,
    /// The file has no name yet.
    Unnamed { path: PathBuf },
    /// The file has a temporary name.
    Named { path: PathBuf, temporary: PathBuf },
}

/// Makes the writing of a file fail, from another thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancel {
    cancelled: Arc<AtomicBool>,
}

impl Cancel {
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether a file is being written which will be given up.
    pub(crate) fn is_noticed(&self) -> bool {
        Arc::strong_count(&self.cancelled) > 1
    }

    fn check(&self) -> io::Result<()> {
        match self.cancelled.load(Ordering::Relaxed) {
            true => Err(io::Error::other("interrupted")),
            false => Ok(()),
        }
    }
}

impl Replacement {
    /// Begins to write a file; `-` is standard output. `mode` is that of a new file, of which the umask is taken off. A
    /// symbolic link stays one, and what it points to is replaced.
    pub(crate) fn create(path: &Path, mode: u32, cancel: &Cancel) -> io::Result<Self> {
        let cancel = cancel.clone();
        if path.as_os_str() == "-" {
            let stdout = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
            return Ok(Self { file: stdout.into(), place: Place::Itself, cancel });
        }
        let path = match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(metadata) if !metadata.is_file() => {
                let file = OpenOptions::new().write(true).open(path)?;
                return Ok(Self { file, place: Place::Itself, cancel });
            }
            Ok(_) => fs::canonicalize(path)?,
            Err(_) => path.to_owned(),
        };
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match openat(CWD, parent(&path), flags, Mode::from_raw_mode(mode)) {
            Ok(file) => Ok(Self { file: file.into(), place: Place::Unnamed { path }, cancel }),
            // Not every file system has files without names.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let temporary = temporary_name(&path);
                let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
                Ok(Self { file, place: Place::Named { path, temporary }, cancel })
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Puts the file in the place of the old one.
    pub(crate) fn commit(mut self) -> io::Result<()> {
        self.cancel.check()?;
        let (path, temporary) = match std::mem::replace(&mut self.place, Place::Itself) {
            Place::Itself => return Ok(()),
            Place::Unnamed { path } => {
                self.file.sync_all()?;
                let temporary = temporary_name(&path);
                let unnamed = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                linkat(CWD, unnamed, CWD, &temporary, AtFlags::SYMLINK_FOLLOW)?;
                (path, temporary)
            }
            Place::Named { path, temporary } => {
                self.place = Place::Named { path: path.clone(), temporary: temporary.clone() };
                self.file.sync_all()?;
                self.place = Place::Itself;
                (path, temporary)
            }
        };
        fs::rename(&temporary, &path).inspect_err(|_| remove(&temporary))?;
        File::open(parent(&path))?.sync_all()
    }
}

impl Write for Replacement {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.cancel.check()?;
        self.file.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if let Place::Named { temporary, .. } = &self.place {
            remove(temporary);
        }
    }
}

/// The first error is the one that tells something.
fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}

/// A name in the same directory that nobody else takes.
fn temporary_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_is_seen_before_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "old").unwrap();
        let mut file = Replacement::create(&path, 0o600, &Cancel::default()).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn what_is_not_completed_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let cancel = Cancel::default();
        let mut file = Replacement::create(&path, 0o600, &cancel).unwrap();
        file.write_all(b"new").unwrap();
        cancel.cancel();
        assert!(file.write_all(b"more").is_err());
        assert!(file.commit().is_err());
        drop(Replacement::create(&path, 0o600, &Cancel::default()).unwrap());
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[test]
    fn names_are_used_where_they_are_needed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let temporary = temporary_name(&path);
        let begin = || {
            let file = File::create_new(&temporary).unwrap();
            let place = Place::Named { path: path.clone(), temporary: temporary.clone() };
            Replacement { file, place, cancel: Cancel::default() }
        };
        drop(begin());
        assert_eq!(names(dir.path()), [""; 0]);
        let mut file = begin();
        file.write_all(b"new").unwrap();
        file.commit().unwrap();
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn links_and_devices_stay_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, "old").unwrap();
        symlink("target", &link).unwrap();
        let mut file = Replacement::create(&link, 0o600, &Cancel::default()).unwrap();
        file.write_all(b"new").unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());

        let mut null = Replacement::create(Path::new("/dev/null"), 0o600, &Cancel::default()).unwrap();
        null.write_all(b"x").unwrap();
        null.commit().unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert!(Replacement::create(dir.path(), 0o600, &Cancel::default()).is_err());
        assert!(Replacement::create(&dir.path().join("no/x"), 0o600, &Cancel::default()).is_err());
    }
}
