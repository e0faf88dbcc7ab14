//! Operations on descriptors that make a difference between files and streams.

use crate::abi::{self, Rights, fdflags};
use crate::errno::Errno;
use crate::fd::MAX_WRITE;
use crate::files::File;
use crate::memory::{CHUNK_SIZE, Guest};
use crate::path::set_times;
use crate::stream::Object;
use crate::{Failure, WasiCtx};
use rustix::fs::Advice;

/// Most that is read from a file at a time: the more, the fewer calls. It stays in the processor's cache.
const MAX_READ: usize = 256 << 10;

impl WasiCtx {
    /// `fd_pread`.
    pub(crate) fn fd_pread(
        &mut self,
        guest: Guest<'_>,
        fd: u32,
        iovecs: u32,
        count: u32,
        position: u64,
        nread: u32,
    ) -> Result<(), Failure> {
        let descriptor = self.descriptors.get_mut(fd)?;
        if let Object::File(_) = descriptor.object {
            return self.file_read(guest, fd, (iovecs, count), Some(position), nread);
        }
        if !is_socket(&descriptor.object) {
            descriptor.input(Rights::FD_READ)?;
        }
        Err(Errno::SPipe.into())
    }

    /// `fd_pwrite`.
    pub(crate) fn fd_pwrite(
        &mut self,
        guest: Guest<'_>,
        fd: u32,
        iovecs: u32,
        count: u32,
        position: u64,
        nwritten: u32,
    ) -> Result<(), Failure> {
        let descriptor = self.descriptors.get_mut(fd)?;
        if let Object::File(_) = descriptor.object {
            return self.file_write(guest, fd, (iovecs, count), Some(position), nwritten);
        }
        if !is_socket(&descriptor.object) {
            descriptor.output(Rights::FD_WRITE)?;
        }
        Err(Errno::SPipe.into())
    }

    /// Reads from a file, at most [`MAX_READ`]: at its position, which moves on, or at the given one.
    pub(crate) fn file_read(
        &mut self,
        guest: Guest<'_>,
        fd: u32,
        (iovecs, count): (u32, u32),
        position: Option<u64>,
        nread: u32,
    ) -> Result<(), Failure> {
        let file = file(self.descriptors.get_mut(fd)?, Rights::FD_READ)?;
        let iovecs = guest.iovecs(iovecs, count)?;
        guest.check(nread, 4)?;
        let want = MAX_READ.min(iovecs.total() as usize);
        if self.scratch.len() < want {
            self.scratch.resize(want, 0);
        }
        let buf = &mut self.scratch[..want];
        let n = file.read_at(buf, position.unwrap_or(file.position))?;
        guest.scatter(&iovecs, &buf[..n])?;
        guest.write_u32(nread, n as u32)?;
        if position.is_none() {
            file.position += n as u64;
        }
        Ok(())
    }

    /// Writes to a file, at most [`MAX_WRITE`]: at its position, which moves on, at the given one, or at its end.
    pub(crate) fn file_write(
        &mut self,
        guest: Guest<'_>,
        fd: u32,
        (iovecs, count): (u32, u32),
        position: Option<u64>,
        nwritten: u32,
    ) -> Result<(), Failure> {
        let descriptor = self.descriptors.get_mut(fd)?;
        let appends = descriptor.flags & fdflags::APPEND != 0;
        let file = file(descriptor, Rights::FD_WRITE)?;
        let iovecs = guest.iovecs(iovecs, count)?;
        guest.check(nwritten, 4)?;
        let total = (iovecs.total() as usize).min(MAX_WRITE);
        self.scratch.resize(CHUNK_SIZE, 0);
        let mut done = 0;
        while done < total {
            let chunk = &mut self.scratch[..CHUNK_SIZE.min(total - done)];
            guest.gather(&iovecs, done as u32, chunk)?;
            let result = match position {
                Some(position) => file.write_at(chunk, position.saturating_add(done as u64)),
                None if appends => file.append(chunk),
                None => file.write_at(chunk, file.position),
            };
            match result {
                Ok(0) => break,
                Ok(n) => {
                    done += n;
                    if position.is_none() && !appends {
                        file.position += n as u64;
                    }
                }
                // What has been written must be told. If the error persists, the next call tells it.
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        guest.write_u32(nwritten, done as u32)
    }

    /// `fd_seek`. Streams have no positions.
    pub(crate) fn fd_seek(
        &mut self,
        guest: Guest<'_>,
        fd: u32,
        offset: i64,
        whence: u32,
        result: u32,
    ) -> Result<(), Failure> {
        let descriptor = self.descriptors.get_mut(fd)?;
        // Who merely asks where it is needs no more than the right to that.
        let right = if offset == 0 && whence == 1 { Rights::FD_TELL } else { Rights::FD_SEEK };
        let file = positioned(descriptor, right)?;
        guest.check(result, 8)?;
        let position = file.seek(offset, whence)?;
        guest.write_u64(result, position)
    }

    /// `fd_tell`.
    pub(crate) fn fd_tell(&mut self, guest: Guest<'_>, fd: u32, result: u32) -> Result<(), Failure> {
        let file = positioned(self.descriptors.get_mut(fd)?, Rights::FD_TELL)?;
        guest.write_u64(result, file.position)
    }

    /// `fd_advise`.
    pub(crate) fn fd_advise(&mut self, fd: u32, offset: u64, len: u64, advice: u32) -> Result<(), Failure> {
        let file = positioned(self.descriptors.get_mut(fd)?, Rights::FD_ADVISE)?;
        let advice = match advice {
            0 => Advice::Normal,
            1 => Advice::Sequential,
            2 => Advice::Random,
            3 => Advice::WillNeed,
            4 => Advice::DontNeed,
            5 => Advice::NoReuse,
            _ => return Err(Errno::Inval.into()),
        };
        Ok(file.node.advise(offset, len, advice)?)
    }

    /// `fd_allocate`.
    pub(crate) fn fd_allocate(&mut self, fd: u32, offset: u64, len: u64) -> Result<(), Failure> {
        let file = positioned(self.descriptors.get_mut(fd)?, Rights::FD_ALLOCATE)?;
        Ok(file.allocate(offset, len)?)
    }

    /// `fd_filestat_set_size`: of streams as of a pipe.
    pub(crate) fn fd_filestat_set_size(&mut self, fd: u32, size: u64) -> Result<(), Failure> {
        let descriptor = self.descriptors.get_mut(fd)?;
        match &descriptor.object {
            Object::File(file) => {
                descriptor.require(Rights::FD_FILESTAT_SET_SIZE)?;
                Ok(file.set_size(size)?)
            }
            Object::Gone | Object::Directory(_) => Err(Errno::BadF.into()),
            _ => Err(Errno::Inval.into()),
        }
    }

    /// `fd_filestat_set_times`: of streams as of a pipe.
    pub(crate) fn fd_filestat_set_times(&mut self, fd: u32, times: (u64, u64, u32)) -> Result<(), Failure> {
        let descriptor = self.descriptors.get_mut(fd)?;
        let capable = descriptor.require(Rights::FD_FILESTAT_SET_TIMES);
        match &descriptor.object {
            Object::File(file) => Ok(capable.and_then(|()| file.node.set_times(set_times(times)?))?),
            Object::Directory(directory) => {
                Ok(capable.and_then(|()| directory.node.set_times(set_times(times)?))?)
            }
            Object::Gone => Err(Errno::BadF.into()),
            _ => Err(Errno::Inval.into()),
        }
    }

    /// `fd_readdir`: as many entries as there is room for, the last of which may be cut off.
    pub(crate) fn fd_readdir(
        &mut self,
        guest: Guest<'_>,
        fd: u32,
        (buf, len): (u32, u32),
        cookie: u64,
        used: u32,
    ) -> Result<(), Failure> {
        let descriptor = self.descriptors.get_mut(fd)?;
        if let Object::Directory(_) = descriptor.object {
            descriptor.require(Rights::FD_READDIR)?;
        }
        let directory = match &mut descriptor.object {
            Object::Directory(directory) => directory,
            Object::Gone => return Err(Errno::BadF.into()),
            _ => return Err(Errno::NotDir.into()),
        };
        guest.check(buf, len.into())?;
        guest.check(used, 4)?;
        let mut done = 0;
        let mut failed = None;
        directory.node.list(cookie, &mut |entry| {
            let head = abi::dirent(entry.next, entry.ino, entry.name.len() as u32, entry.ty);
            let record = [&head, entry.name].concat();
            let n = record.len().min((len - done) as usize);
            failed = guest.write(buf + done, &record[..n]).err();
            done += n as u32;
            failed.is_none() && n == record.len()
        })?;
        if let Some(failure) = failed {
            return Err(failure);
        }
        guest.write_u32(used, done)
    }
}

/// The object as a regular file: `EBADF` if it is something else.
fn file(descriptor: &mut crate::descriptors::Descriptor, right: Rights) -> Result<&mut File, Errno> {
    let capable = descriptor.require(right);
    match &mut descriptor.object {
        Object::File(file) if right == Rights::FD_READ && !file.readable => Err(Errno::BadF),
        Object::File(file) if right == Rights::FD_WRITE && !file.writable => Err(Errno::BadF),
        Object::File(file) => capable.map(|()| file),
        _ => Err(Errno::BadF),
    }
}

fn is_socket(object: &Object) -> bool {
    matches!(object, Object::Listener(_) | Object::Connection(_))
}

/// The object as something with positions: `ESPIPE` if it is a stream.
fn positioned(descriptor: &mut crate::descriptors::Descriptor, right: Rights) -> Result<&mut File, Errno> {
    match descriptor.object {
        Object::File(_) | Object::Directory(_) | Object::Gone => file(descriptor, right),
        _ => Err(Errno::SPipe),
    }
}
