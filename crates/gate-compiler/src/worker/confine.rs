//! What a worker gives up: everything but memory, threads, and what it has open.

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use rustix::thread::set_no_new_privs;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// How much longer than its time a worker's threads may use a processor together.
const CPU_SLACK: Duration = Duration::from_secs(2);

/// To be called before anything is read.
pub(super) fn give_up_rights() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    for resource in [Resource::Core, Resource::Fsize, Resource::Nofile, Resource::Msgqueue, Resource::Memlock]
    {
        set_limit(resource, 0)?;
    }
    set_no_new_privs(true)?;
    let filter = filter().map_err(io::Error::other)?;
    seccompiler::apply_filter_all_threads(&filter).map_err(io::Error::other)
}

/// Limits memory, in bytes, and time.
pub(super) fn limit(memory: Option<u64>, time: Option<Duration>) -> io::Result<()> {
    if let Some(memory) = memory {
        set_limit(Resource::As, memory)?;
    }
    if let Some(time) = time {
        let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        set_limit(Resource::Cpu, (time + CPU_SLACK).as_secs().saturating_mul(threads))?;
    }
    Ok(())
}

fn set_limit(resource: Resource, limit: u64) -> io::Result<()> {
    Ok(setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?)
}

/// The system calls of an allocator, of threads, of reading and writing. There is none that opens, connects, executes,
/// signals another process, or makes memory executable. All others fail as if the kernel did not have them: the C library asks
/// for this and that which it can do without.
fn filter() -> Result<BpfProgram, Box<dyn std::error::Error + Send + Sync>> {
    let free = [
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_close,
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_set_robust_list,
        libc::SYS_rseq,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_gettid,
        libc::SYS_getpid,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_getrandom,
        libc::SYS_restart_syscall,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        free.into_iter().map(|call| (call, Vec::new())).collect();
    let masked = |argument, mask: u64, value: u64| {
        let condition =
            SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), value)?;
        Ok::<_, seccompiler::BackendError>(vec![SeccompRule::new(vec![condition])?])
    };
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, masked(2, libc::PROT_EXEC as u64, 0)?);
    }
    // Threads, not processes. `clone3` has its flags in memory; the C library makes do without it.
    let thread = (libc::CLONE_THREAD | libc::CLONE_VM) as u64;
    rules.insert(libc::SYS_clone, masked(0, thread, thread)?);
    rules.insert(libc::SYS_prctl, masked(0, u64::MAX, libc::PR_SET_NAME as u64)?);
    // A failed assertion ends the process by a signal to itself: thread and process are its own, or there is no such thread.
    let own = std::process::id();
    rules.insert(libc::SYS_tgkill, masked(0, u64::MAX, u64::from(own))?);
    // Resource limits can only be lowered further; the hard ones are set.
    rules.insert(libc::SYS_prlimit64, masked(0, u64::MAX, 0)?);
    rules.insert(libc::SYS_setrlimit, Vec::new());
    rules.insert(libc::SYS_getrlimit, Vec::new());
    let arch = std::env::consts::ARCH.try_into()?;
    let errno = SeccompAction::Errno(libc::ENOSYS as u32);
    Ok(SeccompFilter::new(rules, errno, SeccompAction::Allow, arch)?.try_into()?)
}
