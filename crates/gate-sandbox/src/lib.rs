//! The static programs inside Gate's container, and what the host must do to run them.
//!
//! | program | what it is | where it runs |
//! |---|---|---|
//! | [`EXECUTOR`] | process 1 of the container: makes, kills and reaps program processes | executed by the host |
//! | [`LOADER`] | a program process before it is one: maps what the load request says | executed by the executor |
//! | [`RT`] | the functions that compiled code calls | mapped into program processes |
//!
//! The build script compiles them from `programs/`, without a standard library, and embeds them here: the host needs
//! no file on disk. All three consist of code and constants only, in one piece that is executable, not writable, and
//! the same at any address. The executor and the loader are ELF executables whose address the kernel
//! chooses at random; rt is a bare image whose address the host chooses.
//!
//! Layouts of messages are in `gate-wire`: [`control`](gate_wire::control) between host and executor,
//! [`load`](gate_wire::load) between host and loader, [`call`](gate_wire::call) and [`context`](gate_wire::context)
//! between host and rt.
//!
//! # Starting an executor
//!
//! 1. Put [`EXECUTOR`], [`LOADER`] and [`RT`] into memfds (close-on-exec). Make a `SOCK_SEQPACKET` socket pair: the
//!    *control socket*. One set of memfds serves any number of executors; seal them against writing.
//! 2. `clone3` with `CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
//!    CLONE_NEWCGROUP | CLONE_PIDFD`.
//! 3. In the new process, with bare system calls only (the host has other threads): make [`SETUP_CAPABILITIES`] permitted,
//!    effective and inheritable (`capset`) and ambient (`prctl`), so that they outlive the `execveat` of a process
//!    which is not user 0 of its namespace; make the descriptors 0 = executor's end of the control socket, 1 =
//!    [`LOADER`], 2 = [`RT`]; `execveat` the [`EXECUTOR`] memfd with `AT_EMPTY_PATH` and an empty environment. Other
//!    descriptors may be open: the executor closes them.
//! 4. In the host, meanwhile: write `/proc/PID/uid_map` and `gid_map`. They need the ids of the programs only, such as
//!    `2 HOST_ID 1`: with privilege (or `newuidmap`) an id that nobody else has; otherwise the host's own, and then
//!    `deny` must be written to `/proc/PID/setgroups` before the `gid_map`.
//! 5. Close the executor's end of the control socket, and send [`Setup`](gate_wire::control::Setup) with these ids as
//!    they are inside. The executor waits for it, so the maps are in place.
//! 6. The first message back is one [`Report::Ready`](gate_wire::control::Report::Ready), or a `Failed` with the step
//!    and error number; the executor then exits with status 1.
//!
//! The executor then lives in an empty, read-only file system without `/proc`, has no capabilities and no way to
//! any, and is the first victim when memory runs out (`oom_score_adj`, as far as `/proc` is writable). It exits with
//! status 0 when the control socket is closed: that is how to stop it, and what happens when the host dies. The
//! container and everything in it ends with it, for it is process 1.
//!
//! # Running a program
//!
//! 1. Make a socket pair as before: the *call socket*. Send a [`Request`](gate_wire::control::Request) to create a
//!    process, with one end attached, and close that end. A second descriptor may be attached: a cgroup directory, in
//!    which the process is then made.
//!    The executor answers only if it refuses: `EEXIST` if the id is in use, `EINVAL` if it is too large, `EBADMSG`
//!    if the message is odd (the id is `u32::MAX` if it has none), or what the kernel said. Refusals do no harm to
//!    other processes. The report is to be read: while it finds no room in the socket, no request is accepted.
//! 2. Send a [`LoadRequest`](gate_wire::load::LoadRequest) on the call socket, at once or when there is something to
//!    run, with the descriptors of text and state attached, and those of frames and base if there are any. The text is
//!    mapped readable and executable: seal it. The state file is as long as the end of the last memory's greatest size.
//!    In it the host has filled the instance region: globals, tables, memory descriptors; of the
//!    [`Context`](gate_wire::context::Context) only what a program goes on with. Loader and rt set `exit`, `rt`,
//!    `frozen_sp`, `stack_low`, `stack_limit`, `suspend_request`, `monotonic_origin`, `time_resolution`, `unwinding`,
//!    `dump_next`, `resume_next`, `chunks_replaced`, `reply_sent`, `blind_calls` and `vain_looks`. [`RT_SPAN`] bytes of address space are for rt.
//! 3. Serve the call socket: one [`CallRequest`](gate_wire::call::CallRequest) comes in, and one
//!    [`CallReply`](gate_wire::call::CallReply) goes out. Everything that comes from there is untrusted.
//! 4. Wait for [`Report::Died`](gate_wire::control::Report::Died). With exit status 0, the exit record in
//!    the state tells how the program ended; with another one, [`LoadFailure`](gate_wire::load::LoadFailure) tells what
//!    failed. Killed by `SIGSYS`, the process made a forbidden system call; by `SIGPIPE`, it was left by the host. The
//!    id is free only after this report.
//!
//! A program goes on in a new process, with a socket and an id as they happen to be, and `FLAG_THAW`: the text and
//! state must be where they were; rt may be elsewhere, but must be the same rt.
//!
//! With `FLAG_EXPORT` it only writes down its frames, and the state stays as it is. With exit status 0 the frames
//! file is complete if its header says so; what is in it is the program's word, like everything else. Whatever
//! the program does instead is [`LoadFailure::Export`](gate_wire::load::LoadFailure::Export), or
//! [`LoadFailure::FramesFull`](gate_wire::load::LoadFailure::FramesFull) if the file was too small. No call is made.
//!
//! Suspending a process that still waits for its load request suspends the program as soon as it starts.
//!
//! # What a program process can do
//!
//! System calls: `read` and `write` on descriptor 0, `mprotect` without execution, `clock_gettime` for the clocks 0 to
//! 3 (real time, monotonic, and its own processor time), `rt_sigreturn`, `exit_group`. Any other, in any of
//! the processor's ways, kills it. There is no `ppoll`: a call waits in `read`.
//!
//! A program whose memories are copied on write has one more: `mmap` of its own state file, from where the memories begin,
//! shared, readable and writable, at a fixed address. It can use that to replace what is in its address space with its
//! own data, which cannot be executed; not to get at anything that is not in the file, and not to make the file larger.
//! With several memories it can also reach the unused parts of the file between them, which then take space.
//!
//! Memory: text, rt, rt's data, the state, and if there are any, frames, the base (read-only) and its table of chunks. The
//! loader, the stack that the kernel made (with the environment and
//! the auxiliary vector, both nearly empty anyway) and the kernel's time functions are unmapped before the program runs. A kernel
//! that seals its time functions (`CONFIG_MSEAL_SYSTEM_MAPPINGS`) keeps those. The legacy `vsyscall` page belongs to
//! the kernel; calls through it are filtered as others are.
//!
//! Descriptors: the call socket, and the state file if memories are copied on write. Resource limits: zero, but for processor time (the host's business), resident
//! memory (which Linux ignores), real-time slices (which need a priority that is limited to zero), and address space (which
//! cannot grow, and would take the effect from the limit on data).

/// Executable of the executor.
pub static EXECUTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/executor.elf"));

/// Executable of the loader.
pub static LOADER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/loader.elf"));

/// Image of rt, a multiple of the page size long.
pub static RT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rt.bin"));

/// Bytes of address space that rt takes with what is behind its image.
pub const RT_SPAN: u64 = RT_SIZE as u64 + gate_wire::load::RT_DATA_SIZE;

const RT_SIZE: usize = include_bytes!(concat!(env!("OUT_DIR"), "/rt.bin")).len();

/// Capabilities that the executor needs while it sets up the container: `CAP_SETGID`, `CAP_SETUID`, `CAP_SETPCAP`,
/// `CAP_SYS_ADMIN`. All are within the container's own user namespace, and it keeps none.
pub const SETUP_CAPABILITIES: [u32; 4] = [6, 7, 8, 21];
