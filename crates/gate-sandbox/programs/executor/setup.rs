//! Setting up the container, once, before the first program.

use crate::filter;
use crate::table::Table;
use crate::{CONTROL_FD, LOADER_FD, POLL_FD, RT_FD};
use core::ffi::CStr;
use gate_wire::control::{SETUP_NO_NAMESPACES, Setup, SetupStep};
use sys::arch::syscall;
use sys::number::{errno, nr, rlimit, signal};
use sys::process::{self, pr};
use sys::{Errno, Result, fd};

/// Descriptors as the host gives them.
const GIVEN_CONTROL_FD: i32 = 0;
const GIVEN_LOADER_FD: i32 = 1;
const GIVEN_RT_FD: i32 = 2;

/// The container cannot be set up.
pub(crate) struct Failure {
    pub(crate) step: SetupStep,
    pub(crate) errno: Errno,
    /// Where the control socket was at that moment.
    pub(crate) control: i32,
}

/// Sets everything up. The order matters: what needs rights comes before they are given up.
pub(crate) fn run() -> core::result::Result<&'static mut Table, Failure> {
    let fail = |step, control| move |errno| Failure { step, errno, control };
    let early = |step| fail(step, GIVEN_CONTROL_FD);
    let late = |step| fail(step, CONTROL_FD);

    let setup = receive_setup().map_err(early(SetupStep::ReceiveSetup))?;
    raise_oom_score().map_err(early(SetupStep::SetOomScore))?;
    arrange_descriptors().map_err(early(SetupStep::OpenPoll))?;
    set_ids(&setup).map_err(late(SetupStep::SetIds))?;
    let namespaces = setup.flags & SETUP_NO_NAMESPACES == 0;
    if namespaces {
        mount_root().map_err(late(SetupStep::MountRoot))?;
        pivot_root().map_err(late(SetupStep::PivotRoot))?;
        set_names().map_err(late(SetupStep::SetHostName))?;
    }
    set_attributes().map_err(late(SetupStep::SetProcessAttributes))?;
    set_limits().map_err(late(SetupStep::SetLimits))?;
    drop_capabilities(namespaces).map_err(late(SetupStep::DropCapabilities))?;
    filter::install().map_err(late(SetupStep::InstallFilter))?;
    Table::create().map_err(late(SetupStep::OpenPoll))
}

/// Waits for the host, which has the id maps to write first.
fn receive_setup() -> Result<Setup> {
    let mut buf = [0; Setup::SIZE];
    let message = fd::receive(GIVEN_CONTROL_FD, &mut buf, 0)?;
    let valid = message.size == Setup::SIZE && !message.truncated && message.fds().is_empty();
    Setup::decode(&buf).filter(|_| valid).ok_or(Errno(errno::EBADMSG))
}

/// When memory runs out, the executor and its programs go before anything else of the host's. Program processes
/// inherit this.
///
/// There may be no `/proc`, or it may be read-only in the host's own container: that takes nothing from the
/// isolation, so it is no reason to fail.
fn raise_oom_score() -> Result<()> {
    let Ok(file) = fd::open_for_writing(c"/proc/self/oom_score_adj") else {
        return Ok(());
    };
    let written = fd::write(file, b"1000");
    fd::close(file);
    written.map(drop)
}

/// Puts descriptors where spawning wants them, closes all others, and creates the event queue.
fn arrange_descriptors() -> Result<()> {
    fd::duplicate(GIVEN_CONTROL_FD, CONTROL_FD, true)?;
    fd::duplicate(GIVEN_LOADER_FD, POLL_FD, true)?;
    fd::duplicate(GIVEN_RT_FD, RT_FD, false)?;
    fd::duplicate(POLL_FD, LOADER_FD, true)?;
    fd::close(POLL_FD);
    fd::close_from(POLL_FD as u32)?;
    // Until here a failure is reported through the given number.
    fd::close(GIVEN_CONTROL_FD);

    let poll = fd::create_poll()?;
    fd::duplicate(poll, POLL_FD, true)?;
    fd::close(poll);
    fd::add_to_poll(POLL_FD, CONTROL_FD, fd::EPOLLIN, crate::requests::CONTROL_KEY)
}

/// Changes to the ids of the programs. The kernel forbids `setgroups` where the host could map its own id only;
/// then there is no change of ids either.
fn set_ids(setup: &Setup) -> Result<()> {
    let (uid, gid) = (setup.uid as usize, setup.gid as usize);
    // SAFETY: no pointers are used.
    unsafe {
        match syscall(nr::SETGROUPS, [0, 0]) {
            Err(Errno(errno::EPERM)) if real_uid()? == setup.uid => {}
            result => drop(result?),
        }
        syscall(nr::SETRESGID, [gid, gid, gid])?;
        syscall(nr::SETRESUID, [uid, uid, uid])?;
    }
    Ok(())
}

fn real_uid() -> Result<u32> {
    let mut ids = [0u32; 3];
    let [real, effective, saved] = &mut ids;
    // SAFETY: the kernel writes three numbers.
    unsafe {
        syscall(
            nr::GETRESUID,
            [
                (&raw mut *real).expose_provenance(),
                (&raw mut *effective).expose_provenance(),
                (&raw mut *saved).expose_provenance(),
            ],
        )
    }?;
    Ok(ids[0])
}

const MS_RDONLY: usize = 1;
const MS_NOSUID: usize = 2;
const MS_NODEV: usize = 4;
const MS_NOEXEC: usize = 8;
const MS_REMOUNT: usize = 32;
const MS_REC: usize = 0x4000;
const MS_PRIVATE: usize = 0x4_0000;

/// Where the new root is mounted until it is the root: any directory will do.
const STAGES: [&CStr; 3] = [c"/tmp", c"/proc", c"/dev"];

fn mount(kind: Option<&CStr>, target: &CStr, flags: usize, options: Option<&CStr>) -> Result<()> {
    let addr = |s: Option<&CStr>| s.map_or(0, |s| s.as_ptr() as usize);
    let target = target.as_ptr() as usize;
    // SAFETY: the kernel reads the strings.
    unsafe { syscall(nr::MOUNT, [addr(kind), target, addr(kind), flags, addr(options)]) }.map(drop)
}

fn change_dir(path: &CStr) -> Result<()> {
    // SAFETY: the kernel reads the string.
    unsafe { syscall(nr::CHDIR, [path.as_ptr() as usize]) }.map(drop)
}

/// Mounts an empty directory and goes there.
fn mount_root() -> Result<()> {
    // Nothing that is mounted here may reach the host, nor the other way round.
    mount(None, c"/", MS_REC | MS_PRIVATE, None)?;
    let flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    let options = c"size=4k,nr_inodes=1,mode=0555";
    let mut result = Err(Errno(errno::ENOENT));
    for stage in STAGES {
        result = mount(Some(c"tmpfs"), stage, flags, Some(options)).and_then(|()| change_dir(stage));
        if result != Err(Errno(errno::ENOENT)) {
            break;
        }
    }
    result
}

/// Makes the current directory the root, and lets go of the old one.
fn pivot_root() -> Result<()> {
    const MNT_DETACH: usize = 2;
    let here = c".".as_ptr() as usize;
    // SAFETY: the kernel reads the strings.
    unsafe {
        // The old root ends up on top of the new one, and is taken off.
        syscall(nr::PIVOT_ROOT, [here, here])?;
        syscall(nr::UMOUNT2, [here, MNT_DETACH])?;
    }
    change_dir(c"/")?;
    mount(None, c"/", MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, None)
}

/// The host's names are nobody's business.
fn set_names() -> Result<()> {
    let name = b"gate";
    // SAFETY: the kernel reads the string.
    unsafe {
        syscall(nr::SETHOSTNAME, [name.as_ptr().expose_provenance(), name.len()])?;
        syscall(nr::SETDOMAINNAME, [name.as_ptr().expose_provenance(), name.len()])?;
    }
    Ok(())
}

/// What program processes inherit: addresses that are chosen at random, default handling of all signals, and the
/// suspension signal blocked until rt is ready for it.
///
/// There is no parent-death signal: when the host dies, the control socket is closed and the executor exits; and
/// as it is process 1, the kernel kills whatever else is in the container.
fn set_attributes() -> Result<()> {
    process::reset_personality()?;
    process::reset_signal_actions()?;
    process::set_signal_mask(process::signal_bit(signal::SIGUSR1))?;
    process::set_name(c"gate-executor")?;
    process::prctl(pr::SET_DUMPABLE, 0)
}

/// What neither the executor nor a program needs. Program processes inherit it and take away more.
fn set_limits() -> Result<()> {
    /// The loader's and the executor's need, with room to spare.
    const STACK_SIZE: u64 = 128 << 10;
    let zero = [
        rlimit::CORE,
        rlimit::FSIZE,
        rlimit::LOCKS,
        rlimit::MEMLOCK,
        rlimit::MSGQUEUE,
        rlimit::NICE,
        rlimit::RTPRIO,
        rlimit::SIGPENDING,
    ];
    for resource in zero {
        process::set_limit(resource, 0)?;
    }
    process::set_limit(rlimit::STACK, STACK_SIZE)?;
    // One descriptor per process.
    process::raise_limit(rlimit::NOFILE)
}

/// Gives up all capabilities, and the ways to get any. Without a user namespace of its own, an ordinary user's process
/// has none to begin with, and is not allowed to close all of the ways; the last one, which it may, closes them too.
fn drop_capabilities(namespaces: bool) -> Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    /// Each of: root has no privileges, changing ids changes no capabilities, none are kept, none become ambient;
    /// and the locks of these.
    const SECUREBITS: usize = 0xef;

    process::prctl(pr::CAP_AMBIENT, pr::CAP_AMBIENT_CLEAR_ALL)?;
    for capability in 0..64 {
        match process::prctl(pr::CAPBSET_DROP, capability) {
            // The kernel knows fewer.
            Err(Errno(errno::EINVAL)) if capability > 0 => break,
            Err(Errno(errno::EPERM)) if !namespaces => break,
            result => result?,
        }
    }
    match process::prctl(pr::SET_SECUREBITS, SECUREBITS) {
        Err(Errno(errno::EPERM)) if !namespaces => {}
        result => result?,
    }
    let (header, none) = ([VERSION_3, 0], [0u32; 6]);
    // SAFETY: the kernel reads the two structures.
    unsafe {
        syscall(nr::CAPSET, [(&raw const header).expose_provenance(), (&raw const none).expose_provenance()])
    }?;
    process::prctl(pr::SET_NO_NEW_PRIVS, 1)
}
