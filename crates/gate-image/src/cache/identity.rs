//! What tells that a file has not changed.

use blake3::Hasher;
use rustix::fs::{AtFlags, FsWord, StatxFlags, fstatfs, statx};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::os::fd::AsFd;
use std::sync::OnceLock;

/// What identifies a file with its contents, as long as the system runs.
///
/// It consists of the file's place (mount, device, inode), its size, and when it and its contents were changed, to the nanosecond.
/// Whatever changes a file by ordinary means changes one of these, and the time of change cannot be set. What
/// does not: writing to a file through a mapping that has been written to before, writing to the device
/// below a file system, and setting the clock back to the very nanosecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity([u8; 32]);

/// The number of a mount which no other mount gets again (Linux 6.8).
const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// The file systems of which it is known that they note each change. Those of other hosts are not among them.
const FILE_SYSTEMS: [FsWord; 9] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0xf2f5_2010, // F2FS
    0xca45_1a4e, // bcachefs
    0x2fc1_2fc1, // ZFS
    0x0102_1994, // tmpfs
    0x794c_7630, // overlay
    0x7371_7368, // SquashFS
];

/// A change may have the same time as the one before if it comes so soon, in nanoseconds: time is counted in ticks of up to
/// ten milliseconds.
const SETTLED: i128 = 50_000_000;

impl FileIdentity {
    /// The file's identity. `None` if it was changed only just now, or if the system or the file system cannot tell.
    pub fn of(file: impl AsFd) -> Option<Self> {
        let fs_type = fstatfs(&file).ok()?.f_type;
        if !FILE_SYSTEMS.contains(&(fs_type & 0xffff_ffff)) {
            return None;
        }
        let stat = statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | MNT_ID_UNIQUE).ok()?;
        let given = StatxFlags::from_bits_retain(stat.stx_mask);
        if !given.contains(StatxFlags::BASIC_STATS | MNT_ID_UNIQUE) {
            return None;
        }
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        let changed = nanoseconds(stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec.into());
        let now = clock_gettime(ClockId::Realtime);
        if nanoseconds(now.tv_sec, now.tv_nsec) - changed < SETTLED {
            return None;
        }
        let mut hasher = Hasher::new();
        hasher.update(boot_id()?);
        let numbers = [
            stat.stx_mnt_id,
            stat.stx_dev_major.into(),
            stat.stx_dev_minor.into(),
            stat.stx_ino,
            stat.stx_size,
            stat.stx_mtime.tv_sec as u64,
            stat.stx_mtime.tv_nsec.into(),
            stat.stx_ctime.tv_sec as u64,
            stat.stx_ctime.tv_nsec.into(),
        ];
        for number in numbers {
            hasher.update(&number.to_le_bytes());
        }
        Some(Self(hasher.finalize().into()))
    }

    /// Something that nothing else has.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What is different each time the system starts. What has not reached the disk when the power failed is looked at again.
fn boot_id() -> Option<&'static [u8]> {
    static ID: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    ID.get_or_init(|| fs::read("/proc/sys/kernel/random/boot_id").ok().filter(|id| id.len() >= 36)).as_deref()
}
