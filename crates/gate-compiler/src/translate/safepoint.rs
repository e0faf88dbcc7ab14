//! Checks.
//!
//! A check is a load, a comparison and a branch to a cold block, which calls rt and joins the hot path behind the
//! check. A call is a barrier to memory accesses, and it is on one of two ways to what follows each check, so alias
//! analysis takes no value read before or by a check for one read by a later check, or by the same check in the next
//! round of a loop: a check's load can be neither merged with another nor moved out of its loop.
//!
//! While the program unwinds, each function writes down its frame and returns zeros to its caller, which tests after the
//! call whether that has happened. An exception leaves functions in the same way, but writes nothing down.

use super::dump::DUMPS_PER_LEAVE;
use super::emit::Emitter;
use super::signature::ADDRESS;
use crate::value::ValType;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Value, types};
use gate_wire::context::{RtFunction, Unwinding};
use gate_wire::context_offset;

impl Emitter<'_> {
    /// Checks the stack pointer against the limit. Control goes on behind the check.
    ///
    /// Returns the cold block in which the frame is to be written down.
    pub(super) fn check_entry(&mut self) -> Block {
        let (cold, hot) = (self.create_cold_block(), self.builder.create_block());
        let low = self.stack_is_low();
        self.ins().brif(low, cold, &[], hot, &[]);
        // rt has stopped the program if that was the reason, but the stack may be exhausted as well.
        self.builder.switch_to_block(cold);
        let again = self.create_cold_block();
        let dump = self.stop(again, &[]);
        self.switch_to_sealed(again);
        let low = self.stack_is_low();
        self.ins().brif(low, cold, &[], hot, &[]);
        self.builder.seal_block(cold);
        self.switch_to_sealed(hot);
        dump
    }

    /// Checks the request flag. Control goes on behind the check.
    ///
    /// Returns the cold block in which the frame is to be written down.
    pub(super) fn check_loop(&mut self) -> Block {
        let (cold, hot) = (self.create_cold_block(), self.builder.create_block());
        let requested = self.is_raised(context_offset!(suspend_request));
        self.ins().brif(requested, cold, &[], hot, &[]);
        self.switch_to_sealed(cold);
        let dump = self.stop(hot, &[]);
        self.switch_to_sealed(hot);
        dump
    }

    /// Stops the program. Control goes on when it does.
    ///
    /// Returns the cold block in which the frame is to be written down.
    pub(super) fn stop_at_breakpoint(&mut self) -> Block {
        self.call_rt(RtFunction::Breakpoint, &[]);
        self.check_unwinding()
    }

    /// Tests after a call whether the callee has written down its frame. Control goes on where it has not.
    ///
    /// Returns the cold block in which the frame is to be written down.
    pub(super) fn check_unwinding(&mut self) -> Block {
        let dump = self.create_cold_block();
        let hot = self.builder.create_block();
        self.branch_if_unwinding(dump, hot, &[]);
        self.builder.seal_block(hot);
        self.builder.seal_block(dump);
        self.builder.switch_to_block(hot);
        dump
    }

    /// Tests after a call whether the callee has written down its frame, or has thrown an exception. Control goes on where it
    /// has done neither, and to `exception` in the latter case.
    ///
    /// Returns the cold block in which the frame is to be written down.
    pub(super) fn check_unwinding_or_exception(&mut self, exception: Block) -> Block {
        let (cold, dump) = (self.create_cold_block(), self.create_cold_block());
        let hot = self.builder.create_block();
        let unwinding = self.is_raised(context_offset!(unwinding));
        self.ins().brif(unwinding, cold, &[], hot, &[]);
        self.switch_to_sealed(cold);
        let unwinding = self.load_context(types::I32, context_offset!(unwinding));
        let exception_number = self.ins().iconst(types::I32, Unwinding::Exception as i64);
        let thrown = self.ins().icmp(IntCC::Equal, unwinding, exception_number);
        self.ins().brif(thrown, exception, &[], dump, &[]);
        self.builder.seal_block(dump);
        self.switch_to_sealed(hot);
        dump
    }

    /// Where control goes from here when an exception is not caught in the function.
    pub(super) fn pass_on_block(&mut self) -> Block {
        let full = self.passes.is_multiple_of(DUMPS_PER_LEAVE);
        self.passes += 1;
        if let Some(&block) = self.pass_on.last().filter(|_| !full) {
            return block;
        }
        let block = self.create_cold_block();
        self.pass_on.push(block);
        block
    }

    /// Stops if a suspension is requested; then or else goes to `again`. For cold code. Control is nowhere afterwards.
    ///
    /// Returns the cold block in which the frame is to be written down.
    pub(super) fn stop_if_requested(&mut self, again: Block, args: &[Value]) -> Block {
        let request = self.load_context(types::I32, context_offset!(suspend_request));
        let args: Vec<_> = args.iter().map(|&value| BlockArg::from(value)).collect();
        let stop = self.create_cold_block();
        self.ins().brif(request, stop, &[], again, &args);
        self.switch_to_sealed(stop);
        self.stop(again, &args)
    }

    /// Calls rt to stop, and then goes to `again` or unwinds. Control is nowhere afterwards.
    ///
    /// Returns the cold block in which the frame is to be written down.
    pub(super) fn stop(&mut self, again: Block, args: &[BlockArg]) -> Block {
        self.call_rt(RtFunction::Safepoint, &[]);
        let dump = self.create_cold_block();
        self.branch_if_unwinding(dump, again, args);
        self.builder.seal_block(dump);
        dump
    }

    /// Returns zeros where exceptions are passed on. To be called when all other code has been emitted.
    pub(super) fn finish_passes(&mut self, results: &[ValType]) {
        for block in std::mem::take(&mut self.pass_on) {
            self.switch_to_sealed(block);
            let zeros: Vec<_> = results.iter().map(|&ty| self.constant(ty, 0)).collect();
            self.ins().return_(&zeros);
        }
    }

    fn stack_is_low(&mut self) -> Value {
        let sp = self.ins().get_stack_pointer(ADDRESS);
        let limit = self.load_context(ADDRESS, context_offset!(stack_limit));
        self.ins().icmp(IntCC::UnsignedLessThan, sp, limit)
    }

    /// Whether a word of the context is [`RAISED`](gate_wire::context::RAISED), or nearly so, and not zero. It is compared with the context address, because an x86-64
    /// processor can compare a register with memory in one instruction, without another register, and fuse it with the branch.
    fn is_raised(&mut self, offset: i32) -> Value {
        let context = self.context;
        let context = self.ins().ireduce(types::I32, context);
        let flag = self.load_context(types::I32, offset);
        self.ins().icmp(IntCC::UnsignedLessThan, context, flag)
    }

    fn branch_if_unwinding(&mut self, dump: Block, other: Block, args: &[BlockArg]) {
        let unwinding = self.is_raised(context_offset!(unwinding));
        self.ins().brif(unwinding, dump, &[], other, args);
    }
}
