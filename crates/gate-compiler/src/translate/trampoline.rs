//! Entries from rt.

use super::Env;
use super::emit::Emitter;
use super::signature::{ADDRESS, trampoline_signature, value_type};
use crate::value::{FuncType, ValType};
use cranelift_codegen::ir::{Function, Inst, InstBuilder};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use gate_wire::context_offset;

/// Makes the trampoline of a function: it loads the arguments from the entry area and stores the results there.
pub(crate) fn trampoline(
    env: &Env<'_>,
    function: u32,
    func: &mut Function,
    frontend: &mut FunctionBuilderContext,
    config: TargetFrontendConfig,
) {
    let ty = env.module.function_type(function);
    func.signature = trampoline_signature();
    let (mut emit, _) = Emitter::new(FunctionBuilder::new(func, frontend), function);
    let (context, flags) = (emit.context, emit.access.arguments);
    let entry = -(env.layout.region.entry_distance as i32);

    let mut args = vec![context];
    for (&ty, offset) in ty.params.iter().zip(offsets(&ty.params)) {
        args.push(emit.ins().load(value_type(ty), flags, context, entry + offset));
    }
    let callee = emit.function_ref(function, env.module.function_signature(function), ty);
    let call = emit.ins().call(callee, &args);
    finish(env, emit, call, ty, config);
}

/// Makes the trampoline through which a function goes on as the outermost one, and stores its results.
pub(crate) fn resume_trampoline(
    env: &Env<'_>,
    function: u32,
    func: &mut Function,
    frontend: &mut FunctionBuilderContext,
    config: TargetFrontendConfig,
) {
    let ty = env.module.function_type(function);
    func.signature = trampoline_signature();
    let (mut emit, _) = Emitter::new(FunctionBuilder::new(func, frontend), function);
    let frame = emit.load_context(ADDRESS, context_offset!(resume_next));
    let call = emit.call_resumed(frame, &ty.results);
    finish(env, emit, call, ty, config);
}

/// Stores the results of the call in the entry area, and returns.
fn finish(env: &Env<'_>, mut emit: Emitter<'_>, call: Inst, ty: &FuncType, config: TargetFrontendConfig) {
    let (context, flags) = (emit.context, emit.access.arguments);
    let entry = -(env.layout.region.entry_distance as i32);
    let results = emit.builder.inst_results(call).to_vec();
    for (value, offset) in results.into_iter().zip(offsets(&ty.results)) {
        emit.ins().store(flags, value, context, entry + offset);
    }
    emit.ins().return_(&[]);
    emit.builder.finalize(config);
}

/// Offsets of consecutive slots. One after another, vectors are not aligned.
fn offsets(types: &[ValType]) -> impl Iterator<Item = i32> {
    types.iter().scan(0, |next, ty| {
        let offset = *next;
        *next += ty.slot_size() as i32;
        Some(offset)
    })
}
