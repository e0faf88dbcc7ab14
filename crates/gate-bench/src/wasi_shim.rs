//! As much of WASI preview 1 as the measured programs use, for the peer.

use std::time::{Instant, SystemTime, UNIX_EPOCH};
use wasmtime::{AsContextMut, Caller, Error, Extern, Linker};

const BADF: i32 = 8;
const FAULT: i32 = 21;
const INVAL: i32 = 28;
const SPIPE: i32 = 70;

/// A program ended by `proc_exit`.
#[derive(Debug)]
pub(crate) struct Exit(pub(crate) i32);

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit with code {}", self.0)
    }
}

impl std::error::Error for Exit {}

/// What the host functions work on.
pub(crate) struct Host {
    args: Vec<String>,
    stdin: Vec<u8>,
    stdin_pos: usize,
    started: Instant,
    /// What the program has written.
    pub(crate) stdout: Vec<u8>,
}

impl Host {
    pub(crate) fn new(args: Vec<String>, stdin: Vec<u8>) -> Self {
        Self { args, stdin, stdin_pos: 0, started: Instant::now(), stdout: Vec::new() }
    }
}

/// Adds the functions to a linker.
pub(crate) fn define(linker: &mut Linker<Host>) -> Result<(), Error> {
    const MODULE: &str = "wasi_snapshot_preview1";
    linker
        .func_wrap(MODULE, "args_sizes_get", |mut c: Caller<'_, Host>, count: u32, size: u32| {
            let (n, bytes) = (c.data().args.len(), c.data().args.iter().map(|a| a.len() + 1).sum::<usize>());
            errno(Guest::of(&mut c).and_then(|mut g| {
                g.write_u32(count, n as u32)?;
                g.write_u32(size, bytes as u32)
            }))
        })?
        .func_wrap(MODULE, "args_get", |mut c: Caller<'_, Host>, pointers: u32, strings: u32| {
            errno(Guest::of(&mut c).and_then(|mut g| {
                let (mut pointer, mut string) = (pointers, strings);
                for i in 0..g.host.args.len() {
                    let arg = [g.host.args[i].as_bytes(), b"\0"].concat();
                    g.write_u32(pointer, string)?;
                    g.write(string, &arg)?;
                    pointer += 4;
                    string += arg.len() as u32;
                }
                Ok(())
            }))
        })?
        .func_wrap(MODULE, "environ_sizes_get", |mut c: Caller<'_, Host>, count: u32, size: u32| {
            errno(Guest::of(&mut c).and_then(|mut g| {
                g.write_u32(count, 0)?;
                g.write_u32(size, 0)
            }))
        })?
        .func_wrap(MODULE, "environ_get", |_: u32, _: u32| 0)?
        .func_wrap(MODULE, "clock_time_get", |mut c: Caller<'_, Host>, clock: u32, _: u64, result: u32| {
            errno(Guest::of(&mut c).and_then(|mut g| {
                let time = match clock {
                    0 => SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| INVAL)?,
                    1 => g.host.started.elapsed(),
                    _ => return Err(INVAL),
                };
                g.write(result, &(time.as_nanos() as u64).to_le_bytes())
            }))
        })?
        .func_wrap(MODULE, "clock_res_get", |mut c: Caller<'_, Host>, _: u32, result: u32| {
            errno(Guest::of(&mut c).and_then(|mut g| g.write(result, &1u64.to_le_bytes())))
        })?
        .func_wrap(MODULE, "fd_fdstat_get", |mut c: Caller<'_, Host>, fd: u32, result: u32| {
            errno(Guest::of(&mut c).and_then(|mut g| {
                let mut stat = [0; 24];
                stat[0] = 2; // a character device: output goes out line by line
                stat[8..].fill(0xff);
                if fd > 2 { Err(BADF) } else { g.write(result, &stat) }
            }))
        })?
        .func_wrap(MODULE, "fd_fdstat_set_flags", |_: u32, _: u32| 0)?
        .func_wrap(MODULE, "fd_close", |fd: u32| if fd > 2 { BADF } else { 0 })?
        .func_wrap(MODULE, "fd_seek", |_: u32, _: i64, _: u32, _: u32| SPIPE)?
        .func_wrap(MODULE, "fd_prestat_get", |_: u32, _: u32| BADF)?
        .func_wrap(MODULE, "fd_prestat_dir_name", |_: u32, _: u32, _: u32| BADF)?
        .func_wrap(MODULE, "fd_read", |mut c: Caller<'_, Host>, fd: u32, vecs: u32, n: u32, result: u32| {
            errno(Guest::of(&mut c).and_then(|mut g| g.fd_read(fd, vecs, n, result)))
        })?
        .func_wrap(MODULE, "fd_write", |mut c: Caller<'_, Host>, fd: u32, vecs: u32, n: u32, result: u32| {
            errno(Guest::of(&mut c).and_then(|mut g| g.fd_write(fd, vecs, n, result)))
        })?
        .func_wrap(MODULE, "random_get", |mut c: Caller<'_, Host>, buffer: u32, size: u32| {
            errno(Guest::of(&mut c).and_then(|mut g| g.slice(buffer, size).map(|bytes| bytes.fill(4))))
        })?
        .func_wrap(MODULE, "proc_exit", |code: i32| -> Result<(), Error> { Err(Error::new(Exit(code))) })?;
    Ok(())
}

fn errno(result: Result<(), i32>) -> i32 {
    result.err().unwrap_or(0)
}

/// The program's memory and the host's side of it.
struct Guest<'a> {
    memory: &'a mut [u8],
    host: &'a mut Host,
}

impl<'a> Guest<'a> {
    fn of(caller: &'a mut Caller<'_, Host>) -> Result<Self, i32> {
        let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
            return Err(FAULT);
        };
        let (memory, host) = memory.data_and_store_mut(caller.as_context_mut());
        Ok(Self { memory, host })
    }

    fn fd_read(&mut self, fd: u32, vecs: u32, count: u32, result: u32) -> Result<(), i32> {
        if fd != 0 {
            return Err(BADF);
        }
        let mut total = 0;
        for i in 0..count {
            let (address, size) = self.io_vector(vecs, i)?;
            let size = size.min((self.host.stdin.len() - self.host.stdin_pos) as u32);
            let range = self.host.stdin_pos..self.host.stdin_pos + size as usize;
            slice(self.memory, address, size)?.copy_from_slice(&self.host.stdin[range]);
            self.host.stdin_pos += size as usize;
            total += size;
        }
        self.write_u32(result, total)
    }

    fn fd_write(&mut self, fd: u32, vecs: u32, count: u32, result: u32) -> Result<(), i32> {
        let mut total = 0;
        for i in 0..count {
            let (address, size) = self.io_vector(vecs, i)?;
            let bytes = slice(self.memory, address, size)?;
            match fd {
                1 => self.host.stdout.extend_from_slice(bytes),
                2 => eprint!("{}", String::from_utf8_lossy(bytes)),
                _ => return Err(BADF),
            }
            total += size;
        }
        self.write_u32(result, total)
    }

    fn io_vector(&mut self, vecs: u32, index: u32) -> Result<(u32, u32), i32> {
        let bytes = self.slice(vecs.wrapping_add(index.wrapping_mul(8)), 8)?;
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        Ok((word(0), word(4)))
    }

    fn write_u32(&mut self, address: u32, value: u32) -> Result<(), i32> {
        self.write(address, &value.to_le_bytes())
    }

    fn write(&mut self, address: u32, bytes: &[u8]) -> Result<(), i32> {
        self.slice(address, bytes.len() as u32)?.copy_from_slice(bytes);
        Ok(())
    }

    fn slice(&mut self, address: u32, size: u32) -> Result<&mut [u8], i32> {
        slice(self.memory, address, size)
    }
}

fn slice(memory: &mut [u8], address: u32, size: u32) -> Result<&mut [u8], i32> {
    memory.get_mut(address as usize..).and_then(|m| m.get_mut(..size as usize)).ok_or(FAULT)
}
