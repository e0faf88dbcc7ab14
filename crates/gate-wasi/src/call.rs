//! From a request to a reply.

use crate::abi::Rights;
use crate::errno::Errno;
use crate::layout::{self, Layout};
use crate::memory::{Guest, LinearMemory};
use crate::{Failure, HostError, WasiCtx};
use gate_wire::call::{CallReply, CallRequest};
use gate_wire::trap::TrapId;
use gate_wire::wasi::WasiFunction;

impl WasiCtx {
    /// Does what a program asks for.
    ///
    /// The future can be dropped at any time: then the call has had no effect on streams and descriptors, and the program
    /// can make it again. Only a wait is not started anew by the same call: what has passed of it counts.
    ///
    /// That is so because whatever has an effect happens in the poll that completes the future.
    ///
    /// # Errors
    ///
    /// Only if the host is at fault. What the program does wrong is part of the reply.
    pub async fn call(
        &mut self,
        request: &CallRequest,
        memory: &dyn LinearMemory,
    ) -> Result<CallReply, HostError> {
        let Some((function, layout)) = layout::function(request.func) else {
            return Ok(violation());
        };
        let guest = Guest::new(memory)?;
        match self.dispatch(function, layout, request, guest).await {
            Ok(()) => Ok(returned(Errno::Success)),
            Err(Failure::Errno(errno)) => Ok(returned(errno)),
            Err(Failure::Raised) => Ok(CallReply::Trap(TrapId::AbiDeficiency as u32)),
            Err(Failure::Violation) => Ok(violation()),
            Err(Failure::Host(err)) => Err(err),
        }
    }

    async fn dispatch(
        &mut self,
        f: WasiFunction,
        layout: Layout,
        request: &CallRequest,
        guest: Guest<'_>,
    ) -> Result<(), Failure> {
        use WasiFunction as F;
        let interrupted = self.wait.take();
        let long = request.args;
        // Compiled code extends 32-bit arguments with zeros; what a hostile process puts there is cut off.
        let a = long.map(|arg| arg as u32);
        match f {
            F::ArgsGet => self.args.store(guest, a[0], a[1]),
            F::ArgsSizesGet => self.args.sizes(guest, a[0], a[1]),
            F::EnvironGet => self.environ.store(guest, a[0], a[1]),
            F::EnvironSizesGet => self.environ.sizes(guest, a[0], a[1]),
            F::ClockResGet => self.clock_res_get(guest, a[0], a[1]),
            F::ClockTimeGet => self.clock_time_get(guest, a[0], a[2]),
            F::FdAdvise => self.fd_advise(a[0], long[1], long[2], a[3]),
            F::FdAllocate => self.fd_allocate(a[0], long[1], long[2]),
            F::FdSeek => self.fd_seek(guest, a[0], long[1] as i64, layout.whence(a[2]), a[3]),
            F::FdTell => self.fd_tell(guest, a[0], a[1]),
            F::FdClose => self.fd_close(a[0]).await,
            F::FdDatasync => self.fd_sync(a[0], Rights::FD_DATASYNC).await,
            F::FdFdstatGet => self.fd_fdstat_get(guest, a[0], a[1]),
            F::FdFdstatSetFlags => self.fd_fdstat_set_flags(a[0], a[1]),
            F::FdFdstatSetRights => self.fd_fdstat_set_rights(a[0], long[1], long[2]),
            F::FdFilestatGet => self.fd_filestat_get(guest, a[0], layout, a[1]),
            F::FdFilestatSetSize => self.fd_filestat_set_size(a[0], long[1]),
            F::FdFilestatSetTimes => self.fd_filestat_set_times(a[0], (long[1], long[2], a[3])),
            F::FdPread => self.fd_pread(guest, a[0], a[1], a[2], long[3], a[4]),
            F::FdPrestatGet => self.fd_prestat_get(guest, a[0], a[1]),
            F::FdPrestatDirName => self.fd_prestat_dir_name(guest, a[0], a[1], a[2]),
            F::FdPwrite => self.fd_pwrite(guest, a[0], a[1], a[2], long[3], a[4]),
            F::FdRead => self.fd_read(guest, a[0], a[1], a[2], a[3]).await,
            F::FdReaddir => self.fd_readdir(guest, a[0], (a[1], a[2]), long[3], a[4]),
            F::FdRenumber => self.fd_renumber(a[0], a[1]).await,
            F::FdSync => self.fd_sync(a[0], Rights::FD_SYNC).await,
            F::FdWrite => self.fd_write(guest, a[0], a[1], a[2], a[3]).await,
            F::PathCreateDirectory => self.path_create_directory(guest, a[0], (a[1], a[2])),
            F::PathFilestatGet => self.path_filestat_get(guest, a[0], a[1], (a[2], a[3]), layout, a[4]),
            F::PathFilestatSetTimes => {
                self.path_filestat_set_times(guest, a[0], a[1], (a[2], a[3]), (long[4], long[5], a[6]))
            }
            F::PathLink => self.path_link(guest, a[0], a[1], (a[2], a[3]), a[4], (a[5], a[6])),
            F::PathOpen => {
                let rights = (long[5], long[6]);
                self.path_open(guest, a[0], a[1], (a[2], a[3]), a[4], rights, a[7], a[8])
            }
            F::PathReadlink => self.path_readlink(guest, a[0], (a[1], a[2]), (a[3], a[4]), a[5]),
            F::PathRemoveDirectory => self.path_remove_directory(guest, a[0], (a[1], a[2])),
            F::PathRename => self.path_rename(guest, a[0], (a[1], a[2]), a[3], (a[4], a[5])),
            F::PathSymlink => self.path_symlink(guest, (a[0], a[1]), a[2], (a[3], a[4])),
            F::PathUnlinkFile => self.path_unlink_file(guest, a[0], (a[1], a[2])),
            F::PollOneoff => self.poll_oneoff(guest, [a[0], a[1], a[2], a[3]], layout, interrupted).await,
            // The program's process ends itself.
            F::ProcExit => Err(Failure::Violation),
            F::ProcRaise => self.proc_raise(a[0]),
            F::SchedYield => {
                tokio::task::yield_now().await;
                Ok(())
            }
            F::RandomGet => self.random_get(guest, a[0], a[1]).await,
            F::SockAccept => self.sock_accept(guest, a[0], a[1], a[2]).await,
            F::SockRecv => self.sock_recv(guest, a[0], (a[1], a[2]), a[3], (a[4], a[5])).await,
            F::SockSend => self.sock_send(guest, a[0], (a[1], a[2]), a[3], a[4]).await,
            F::SockShutdown => self.sock_shutdown(a[0], a[1]),
        }
    }
}

fn returned(errno: Errno) -> CallReply {
    CallReply::Return(errno as u64)
}

fn violation() -> CallReply {
    CallReply::Trap(TrapId::AbiViolation as u32)
}
