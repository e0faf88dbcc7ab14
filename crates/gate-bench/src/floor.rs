//! The least that a process costs: an empty static program.

use anyhow::{Context, ensure};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempPath;

const LOAD_ADDRESS: u64 = 0x40_0000;
const FILE_HEADER_SIZE: u16 = 64;
const PROGRAM_HEADER_SIZE: u16 = 56;

/// `exit_group(0)`
const CODE: [u8; 9] = [
    0x31, 0xff, // xor edi, edi
    0xb8, 0xe7, 0x00, 0x00, 0x00, // mov eax, 231
    0x0f, 0x05, // syscall
];

/// An empty static program in a file.
pub(crate) struct Floor {
    path: TempPath,
}

impl Floor {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut file = tempfile::NamedTempFile::new().context("create a temporary file")?;
        file.write_all(&executable()).context("write a temporary file")?;
        file.as_file().set_permissions(PermissionsExt::from_mode(0o700)).context("make a file executable")?;
        Ok(Self { path: file.into_temp_path() })
    }

    /// Spawns it, as the standard library does (`posix_spawn`, which borrows memory as `vfork` does), and waits.
    pub(crate) fn run(&self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let status = Command::new(&self.path).status().context("run the empty program")?;
        let time = start.elapsed();
        ensure!(status.success(), "the empty program failed: {status}");
        Ok(time)
    }
}

/// An ELF file of one segment, which is read and executed.
fn executable() -> Vec<u8> {
    let headers = u64::from(FILE_HEADER_SIZE + PROGRAM_HEADER_SIZE);
    let size = headers + CODE.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([2u16, 62].map(u16::to_le_bytes).concat()); // executable, x86-64
    elf.extend(1u32.to_le_bytes());
    elf.extend([LOAD_ADDRESS + headers, u64::from(FILE_HEADER_SIZE), 0].map(u64::to_le_bytes).concat());
    elf.extend(0u32.to_le_bytes());
    elf.extend([FILE_HEADER_SIZE, PROGRAM_HEADER_SIZE, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    elf.extend([1u32, 5].map(u32::to_le_bytes).concat()); // load; readable, executable
    elf.extend([0, LOAD_ADDRESS, LOAD_ADDRESS, size, size, 0x1000].map(u64::to_le_bytes).concat());
    elf.extend(CODE);
    elf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_program_runs() {
        assert_eq!(executable().len(), 64 + 56 + CODE.len());
        Floor::new().unwrap().run().unwrap();
    }
}
