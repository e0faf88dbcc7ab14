//! As much of WASI preview 1 as the programs use, on whatever an engine calls a memory.

use crate::subject::Entry;

/// Module of the functions.
pub(super) const MODULE: &str = "wasi_snapshot_preview1";

const BADF: i32 = 8;
const FAULT: i32 = 21;
const INVAL: i32 = 28;
const NOSYS: i32 = 52;
const SPIPE: i32 = 70;

/// A program has called `proc_exit`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exit(pub(super) i32);

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit with code {}", self.0)
    }
}

impl std::error::Error for Exit {}

/// A program's arguments and streams.
#[derive(Clone, Debug, Default)]
pub(super) struct Wasi {
    args: Vec<Vec<u8>>,
    stdin: Vec<u8>,
    read: usize,
    time: u64,
    pub(super) stdout: Vec<u8>,
}

impl Wasi {
    pub(super) fn new(entry: &Entry) -> Self {
        let Entry::Command { args, stdin } = entry else { return Self::default() };
        let args = args.iter().map(|arg| [arg.as_bytes(), b"\0"].concat()).collect();
        Self { args, stdin: stdin.clone(), ..Self::default() }
    }

    /// Calls a function, by its name. The error number, if there is a result.
    pub(super) fn call(&mut self, memory: &mut [u8], name: &str, args: &[u64]) -> Result<i32, Exit> {
        if name == "proc_exit" {
            return Err(Exit(args.first().map_or(0, |&code| code as u32 as i32)));
        }
        Ok(self.serve(&mut Guest(memory), name, args).err().unwrap_or(0))
    }

    fn serve(&mut self, guest: &mut Guest<'_>, name: &str, args: &[u64]) -> Result<(), i32> {
        // Functions have at most nine.
        let mut all = [0; 9];
        all.iter_mut().zip(args).for_each(|(to, &arg)| *to = arg as u32);
        let [a, b, c, d, ..] = all;
        match name {
            "args_sizes_get" => {
                guest.write_u32(a, self.args.len() as u32)?;
                guest.write_u32(b, self.args.iter().map(Vec::len).sum::<usize>() as u32)
            }
            "args_get" => {
                let (mut pointer, mut string) = (a, b);
                for arg in &self.args {
                    guest.write_u32(pointer, string)?;
                    guest.write(string, arg)?;
                    pointer += 4;
                    string += arg.len() as u32;
                }
                Ok(())
            }
            "environ_sizes_get" => {
                guest.write_u32(a, 0)?;
                guest.write_u32(b, 0)
            }
            "environ_get" | "fd_fdstat_set_flags" | "sched_yield" => Ok(()),
            "clock_res_get" => guest.write(b, &1u64.to_le_bytes()),
            "clock_time_get" if a > 3 => Err(INVAL),
            "clock_time_get" => {
                // Time passes, however often it is asked for.
                self.time += 1_000_000;
                guest.write(c, &self.time.to_le_bytes())
            }
            "random_get" => guest.slice(a, b).map(|bytes| bytes.fill(4)),
            "fd_close" => {
                if a > 2 {
                    Err(BADF)
                } else {
                    Ok(())
                }
            }
            "fd_seek" => Err(if a > 2 { BADF } else { SPIPE }),
            "fd_prestat_get" | "fd_prestat_dir_name" => Err(BADF),
            "fd_fdstat_get" => {
                let mut stat = [0; 24];
                // A character device, with all rights.
                stat[0] = 2;
                stat[8..].fill(0xff);
                if a > 2 { Err(BADF) } else { guest.write(b, &stat) }
            }
            "fd_read" => self.read(guest, a, b, c, d),
            "fd_write" => self.write(guest, a, b, c, d),
            _ => Err(NOSYS),
        }
    }

    fn read(
        &mut self,
        guest: &mut Guest<'_>,
        fd: u32,
        vecs: u32,
        count: u32,
        result: u32,
    ) -> Result<(), i32> {
        if fd != 0 {
            return Err(BADF);
        }
        let mut total = 0;
        for index in 0..count {
            let (address, size) = guest.io_vector(vecs, index)?;
            let rest = &self.stdin[self.read..];
            let size = size.min(rest.len() as u32);
            guest.write(address, &rest[..size as usize])?;
            self.read += size as usize;
            total += size;
        }
        guest.write_u32(result, total)
    }

    fn write(
        &mut self,
        guest: &mut Guest<'_>,
        fd: u32,
        vecs: u32,
        count: u32,
        result: u32,
    ) -> Result<(), i32> {
        let mut total = 0;
        for index in 0..count {
            let (address, size) = guest.io_vector(vecs, index)?;
            let bytes = guest.slice(address, size)?;
            match fd {
                1 => self.stdout.extend_from_slice(bytes),
                2 => {}
                _ => return Err(BADF),
            }
            total += size;
        }
        guest.write_u32(result, total)
    }
}

/// A program's memory.
struct Guest<'a>(&'a mut [u8]);

impl Guest<'_> {
    fn slice(&mut self, address: u32, size: u32) -> Result<&mut [u8], i32> {
        self.0.get_mut(address as usize..).and_then(|rest| rest.get_mut(..size as usize)).ok_or(FAULT)
    }

    fn write(&mut self, address: u32, bytes: &[u8]) -> Result<(), i32> {
        self.slice(address, bytes.len() as u32)?.copy_from_slice(bytes);
        Ok(())
    }

    fn write_u32(&mut self, address: u32, value: u32) -> Result<(), i32> {
        self.write(address, &value.to_le_bytes())
    }

    fn io_vector(&mut self, vecs: u32, index: u32) -> Result<(u32, u32), i32> {
        let bytes = self.slice(vecs.wrapping_add(index.wrapping_mul(8)), 8)?;
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        Ok((word(0), word(4)))
    }
}
