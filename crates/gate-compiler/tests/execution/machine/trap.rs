//! Entering compiled code, and leaving it when it traps.

use std::arch::naked_asm;
use std::cell::Cell;
use std::sync::Once;

thread_local! {
    /// Stack pointer with which compiled code was entered; zero outside of it.
    static ENTERED: Cell<u64> = const { Cell::new(0) };
    /// Address of the instruction that trapped.
    static TRAPPED: Cell<u64> = const { Cell::new(0) };
}

/// Calls a trampoline. If the code traps, returns the address of the instruction.
///
/// # Safety
///
/// It must be a trampoline of compiled code that is mapped, and the context that of a machine.
pub(super) unsafe fn enter(trampoline: *const u8, context: *mut u8) -> Result<(), u64> {
    static HANDLERS: Once = Once::new();
    HANDLERS.call_once(install);
    // SAFETY: passed on to the caller.
    let trapped = unsafe { call(trampoline, context, ENTERED.with(Cell::as_ptr)) };
    ENTERED.set(0);
    if trapped { Err(TRAPPED.get()) } else { Ok(()) }
}

/// Stores the stack pointer, so that [`leave`] can restore it.
#[unsafe(naked)]
unsafe extern "sysv64" fn call(_trampoline: *const u8, _context: *mut u8, _entered: *mut u64) -> bool {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "mov [rdx], rsp",
        "mov rax, rdi",
        "mov rdi, rsi",
        "call rax",
        "xor eax, eax",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// Returns from [`call`].
#[unsafe(naked)]
extern "sysv64" fn leave() {
    naked_asm!(
        "mov eax, 1",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

fn install() {
    for signal in [libc::SIGILL, libc::SIGFPE, libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: the handler does what handlers may.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
        }
    }
}

extern "C" fn handle(signal: i32, _info: *mut libc::siginfo_t, context: *mut libc::ucontext_t) {
    // SAFETY: the kernel passes a context, which is restored when this returns.
    let registers = unsafe { &mut (*context).uc_mcontext.gregs };
    let entered = ENTERED.get();
    if entered == 0 {
        // A fault of the test's. It happens again, and ends the process.
        // SAFETY: always allowed.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    TRAPPED.set(registers[libc::REG_RIP as usize] as u64);
    registers[libc::REG_RIP as usize] = leave as *const () as i64;
    registers[libc::REG_RSP as usize] = entered as i64;
}
