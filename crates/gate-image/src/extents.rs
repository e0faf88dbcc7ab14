//! Which parts of a sparse file have data.

use crate::memfd;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

/// How much is copied at a time where the kernel cannot do it by itself.
const COPY_SIZE: u64 = 256 << 10;

/// The first part of the range which has data. What is not part of any is zero.
pub(crate) fn next_data(file: impl AsFd, range: Range<u64>) -> Result<Option<Range<u64>>, Errno> {
    if range.is_empty() {
        return Ok(None);
    }
    let start = match rustix::fs::seek(&file, SeekFrom::Data(range.start)) {
        Ok(start) if start < range.end => start,
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    // The program's process may be at work still: what was data may be none any more. It can't make the range empty or endless.
    let end = match rustix::fs::seek(&file, SeekFrom::Hole(start)) {
        Ok(end) => end.clamp(start + 1, range.end),
        Err(Errno::NXIO) => range.end,
        Err(errno) => return Err(errno),
    };
    Ok(Some(start..end))
}

/// Copies the data in the range to the same place in another file, which must be zero there.
pub(crate) fn copy_data(from: impl AsFd, to: impl AsFd, range: Range<u64>) -> Result<(), Errno> {
    let to_offset = range.start;
    copy_data_to(from, to, range, to_offset)
}

/// Copies the data in the range to a place in another file, which must be zero there.
pub(crate) fn copy_data_to(
    from: impl AsFd,
    to: impl AsFd,
    range: Range<u64>,
    to_offset: u64,
) -> Result<(), Errno> {
    let start = range.start;
    let mut rest = range;
    while let Some(part) = next_data(&from, rest.clone())? {
        rest.start = part.end;
        let to_offset = to_offset + (part.start - start);
        copy_to(from.as_fd(), to.as_fd(), part, to_offset)?;
    }
    Ok(())
}

/// Copies the range to the same place in another file.
pub(crate) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, range: Range<u64>) -> Result<(), Errno> {
    let to_offset = range.start;
    copy_to(from, to, range, to_offset)
}

/// Copies the range to a place in another file.
///
/// The kernel does it, if it can with these files: then some file systems share the blocks.
fn copy_to(from: BorrowedFd<'_>, to: BorrowedFd<'_>, range: Range<u64>, to_start: u64) -> Result<(), Errno> {
    let start = range.start;
    let mut rest = range;
    while !rest.is_empty() {
        let (mut from_offset, mut to_offset) = (rest.start, to_start + (rest.start - start));
        let len = usize::try_from(rest.end - rest.start).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, Some(&mut from_offset), to, Some(&mut to_offset), len) {
            // The file ends here, or the kernel has not noticed that it does not.
            Ok(0) => return copy_by_hand(from, to, rest, to_start + (from_offset - start)),
            Ok(n) => rest.start += n as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                return copy_by_hand(from, to, rest, to_start + (from_offset - start));
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn copy_by_hand(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    range: Range<u64>,
    mut to_offset: u64,
) -> Result<(), Errno> {
    let mut buf = vec![0; (range.end - range.start).min(COPY_SIZE) as usize];
    let mut offset = range.start;
    while offset < range.end {
        let part = (range.end - offset).min(COPY_SIZE) as usize;
        memfd::read_exact(from, &mut buf[..part], offset)?;
        memfd::write_all(to, &buf[..part], to_offset)?;
        offset += part as u64;
        to_offset += part as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(file: impl AsFd, range: Range<u64>) -> Vec<Range<u64>> {
        let mut rest = range;
        let mut parts = Vec::new();
        while let Some(part) = next_data(&file, rest.clone()).unwrap() {
            rest.start = part.end;
            parts.push(part);
        }
        parts
    }

    #[test]
    fn only_data_is_found_and_copied() {
        let from = memfd::create_sized("from", 1 << 40).unwrap();
        memfd::write_all(&from, &[1; 4096], 1 << 30).unwrap();
        memfd::write_all(&from, b"xyz", (1 << 39) + 5).unwrap();
        let expected = [1 << 30..(1 << 30) + 4096, 1 << 39..(1 << 39) + 4096];
        assert_eq!(parts(&from, 0..1 << 40), expected);
        assert_eq!(
            parts(&from, (1 << 30) + 1..(1 << 39) + 6),
            [(1 << 30) + 1..(1 << 30) + 4096, 1 << 39..(1 << 39) + 6]
        );
        assert_eq!(parts(&from, 5..5), []);
        assert_eq!(parts(&from, 0..1 << 30), []);

        let directory = tempfile::tempfile().unwrap();
        directory.set_len(1 << 40).unwrap();
        for to in [memfd::create_sized("to", 1 << 40).unwrap(), directory.into()] {
            copy_data(&from, &to, 0..1 << 40).unwrap();
            let mut buf = [0; 3];
            memfd::read_exact(&to, &mut buf, (1 << 39) + 5).unwrap();
            assert_eq!(&buf, b"xyz");
            assert!(rustix::fs::fstat(&to).unwrap().st_blocks <= 2 * 4096 / 512 + 16);
        }
    }
}
