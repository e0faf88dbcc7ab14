//! Functions that are imported: they make a host call.

use super::Env;
use super::emit::Emitter;
use super::signature::{resume_signature, wasm_signature};
use crate::compiled::{Safepoint, SafepointKind};
use crate::value::ValType;
use cranelift_codegen::ir::{Function, InstBuilder, MemFlagsData, Value, types};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use gate_wire::context::{CallState, RtFunction};
use gate_wire::context_offset;

/// How the body of an imported function is entered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ThunkEntrance {
    /// With arguments.
    Start,
    /// With a frame to be loaded. The call record has been filled in, and maybe the call has even been made.
    Safepoint,
}

/// Makes the body of an imported function, and returns its safepoint.
///
/// It fills in the call record and calls rt until the call has been made. The program can stop in between.
pub(crate) fn translate(
    env: &Env<'_>,
    function: u32,
    entrance: ThunkEntrance,
    func: &mut Function,
    frontend: &mut FunctionBuilderContext,
    config: TargetFrontendConfig,
) -> Safepoint {
    let ty = env.module.function_type(function);
    func.signature = match entrance {
        ThunkEntrance::Start => wasm_signature(ty),
        ThunkEntrance::Safepoint => resume_signature(&ty.results),
    };
    let (mut emit, mut params) = Emitter::new(FunctionBuilder::new(func, frontend), function);
    match entrance {
        ThunkEntrance::Start => {
            request(&mut emit, env.module.imports[function as usize], &ty.params, &params)
        }
        ThunkEntrance::Safepoint => params = emit.load_frame(ty.params.iter().copied()).0,
    }

    let again = emit.builder.create_block();
    emit.ins().jump(again, &[]);
    emit.builder.switch_to_block(again);
    emit.call_rt(RtFunction::HostCall, &[]);
    let state = emit.load_context(types::I32, context_offset!(call.state));
    let (interrupted, done) = (emit.create_cold_block(), emit.builder.create_block());
    emit.ins().brif(state, interrupted, &[], done, &[]);

    emit.switch_to_sealed(interrupted);
    let dump = emit.stop(again, &[]);
    emit.builder.seal_block(again);
    emit.builder.switch_to_block(dump);
    let slots: Vec<_> = params.iter().copied().zip(ty.params.iter().copied()).collect();
    emit.dump(0, &slots);

    emit.switch_to_sealed(done);
    let results: Vec<_> = ty.results.iter().map(|&ty| from_record(&mut emit, ty)).collect();
    emit.ins().return_(&results);
    emit.finish_dumps(&ty.results);
    emit.builder.finalize(config);

    let locals = ty.params.iter().enumerate().map(|(index, &ty)| (index as u32, ty)).collect();
    Safepoint {
        function,
        code_offset: 0,
        kind: SafepointKind::Entry,
        callee: None,
        locals,
        operands: Vec::new(),
    }
}

/// Fills in the call record.
fn request(emit: &mut Emitter<'_>, host_function: u32, types: &[ValType], params: &[Value]) {
    let host_function = emit.ins().iconst(types::I32, i64::from(host_function));
    emit.store_context(host_function, context_offset!(call.func));
    for (index, (&value, &ty)) in params.iter().zip(types).enumerate() {
        let value = to_record(emit, ty, value);
        emit.store_context(value, context_offset!(call.args) + 8 * index as i32);
    }
    let unsent = emit.ins().iconst(types::I32, CallState::Unsent as i64);
    emit.store_context(unsent, context_offset!(call.state));
}

/// A value as the 64 bits that a call record has.
fn to_record(emit: &mut Emitter<'_>, ty: ValType, value: Value) -> Value {
    let value = match ty {
        ValType::F32 => emit.ins().bitcast(types::I32, MemFlagsData::new(), value),
        ValType::F64 => emit.ins().bitcast(types::I64, MemFlagsData::new(), value),
        _ => value,
    };
    match emit.builder.func.dfg.value_type(value) {
        types::I32 => emit.ins().uextend(types::I64, value),
        _ => value,
    }
}

fn from_record(emit: &mut Emitter<'_>, ty: ValType) -> Value {
    // The low bytes come first.
    emit.load_context(super::signature::value_type(ty), context_offset!(call.result))
}
