//! A program that exists only as its memory and its calls.
#![allow(dead_code, reason = "each test uses some of it")]

use gate_wasi::{AccessError, Errno, LinearMemory, WasiCtx};
use gate_wire::call::{CallReply, CallRequest};
use gate_wire::wasi::WasiFunction;
use std::io;
use std::sync::Mutex;
use std::time::Duration;

/// Linear memory.
pub(crate) struct Memory(Mutex<Vec<u8>>);

impl Memory {
    pub(crate) fn new(size: usize) -> Self {
        Self(Mutex::new(vec![0; size]))
    }

    pub(crate) fn put(&self, addr: u32, data: &[u8]) {
        self.write(addr.into(), data).unwrap();
    }

    pub(crate) fn bytes(&self, addr: u32, len: usize) -> Vec<u8> {
        let mut buf = vec![0; len];
        self.read(addr.into(), &mut buf).unwrap();
        buf
    }

    pub(crate) fn u32(&self, addr: u32) -> u32 {
        u32::from_le_bytes(self.bytes(addr, 4).try_into().unwrap())
    }

    pub(crate) fn u64(&self, addr: u32) -> u64 {
        u64::from_le_bytes(self.bytes(addr, 8).try_into().unwrap())
    }

    /// Writes an array of buffers.
    pub(crate) fn iovecs(&self, addr: u32, buffers: &[(u32, u32)]) {
        let array: Vec<u8> =
            buffers.iter().flat_map(|(addr, len)| [addr.to_le_bytes(), len.to_le_bytes()].concat()).collect();
        self.put(addr, &array);
    }
}

impl LinearMemory for Memory {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), AccessError> {
        let memory = self.0.lock().unwrap();
        let start = usize::try_from(addr).map_err(|_| AccessError::OutOfBounds)?;
        let end = start.checked_add(buf.len()).ok_or(AccessError::OutOfBounds)?;
        buf.copy_from_slice(memory.get(start..end).ok_or(AccessError::OutOfBounds)?);
        Ok(())
    }

    fn write(&self, addr: u64, data: &[u8]) -> Result<(), AccessError> {
        let mut memory = self.0.lock().unwrap();
        let start = usize::try_from(addr).map_err(|_| AccessError::OutOfBounds)?;
        let end = start.checked_add(data.len()).ok_or(AccessError::OutOfBounds)?;
        memory.get_mut(start..end).ok_or(AccessError::OutOfBounds)?.copy_from_slice(data);
        Ok(())
    }
}

/// Makes a call, which must not take longer than a test may.
pub(crate) async fn call(ctx: &mut WasiCtx, memory: &Memory, f: WasiFunction, args: &[u64]) -> CallReply {
    let mut request = CallRequest { func: f as u32, args: Default::default() };
    request.args[..args.len()].copy_from_slice(args);
    tokio::time::timeout(Duration::from_secs(10), ctx.call(&request, memory))
        .await
        .unwrap_or_else(|_| panic!("{} does not return", f.name()))
        .expect("the host is not at fault")
}

/// Makes a call that returns an error number.
pub(crate) async fn errno(ctx: &mut WasiCtx, memory: &Memory, f: WasiFunction, args: &[u64]) -> Errno {
    match call(ctx, memory, f, args).await {
        CallReply::Return(number) => Errno::ALL[number as usize],
        CallReply::Trap(trap) => panic!("{} traps with {trap}", f.name()),
    }
}
