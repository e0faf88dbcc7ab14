//! Code that functions, thunks and trampolines have in common.

use super::access::Access;
use super::dump::Dumps;
use super::signature::{ADDRESS, rt_signature, takes_context, value_type, wasm_signature};
use crate::symbol::Symbol;
use crate::value::{FuncType, ValType};
use cranelift_codegen::ir::{
    self, Block, FuncRef, GlobalValueData, InstBuilder, SigRef, StackSlot, StackSlotData, StackSlotKind,
    Type, Value, types,
};
use cranelift_frontend::{FuncInstBuilder, FunctionBuilder};
use gate_wire::context::RtFunction;
use gate_wire::context_offset;
use std::collections::HashMap;

/// A function under construction.
pub(super) struct Emitter<'f> {
    pub(super) builder: FunctionBuilder<'f>,
    /// Index of the function.
    pub(super) function: u32,
    /// The context address.
    pub(super) context: Value,
    pub(super) access: Access,
    pub(super) dumps: Dumps,
    /// Where control goes when an exception is not caught in the function.
    pub(super) pass_on: Vec<Block>,
    /// Number of places from where it goes there.
    pub(super) passes: usize,
    rt_signatures: [Option<SigRef>; RtFunction::COUNT],
    arguments: Option<StackSlot>,
    functions: HashMap<u32, FuncRef>,
    signatures: HashMap<u32, SigRef>,
}

/// Greatest number of arguments that an rt function takes by address.
const MAX_RT_ARGUMENTS: u32 = 7;

impl<'f> Emitter<'f> {
    /// Starts a function, at its entry block. Also returns its parameters after the context address.
    pub(super) fn new(mut builder: FunctionBuilder<'f>, function: u32) -> (Self, Vec<Value>) {
        let access = Access::new(builder.func);
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        builder.seal_block(entry);
        let params = builder.block_params(entry);
        let (context, params) = (params[0], params[1..].to_vec());
        let emitter = Self {
            builder,
            function,
            context,
            access,
            dumps: Dumps::default(),
            pass_on: Vec::new(),
            passes: 0,
            rt_signatures: [None; RtFunction::COUNT],
            arguments: None,
            functions: HashMap::new(),
            signatures: HashMap::new(),
        };
        (emitter, params)
    }

    pub(super) fn ins<'s>(&'s mut self) -> FuncInstBuilder<'s, 'f> {
        self.builder.ins()
    }

    /// Goes on in a block whose predecessors are all known.
    pub(super) fn switch_to_sealed(&mut self, block: Block) {
        self.builder.switch_to_block(block);
        self.builder.seal_block(block);
    }

    /// Creates a block which is rarely executed.
    pub(super) fn create_cold_block(&mut self) -> Block {
        let block = self.builder.create_block();
        self.builder.set_cold_block(block);
        block
    }

    /// Loads a field of the context.
    pub(super) fn load_context(&mut self, ty: Type, offset: i32) -> Value {
        let (flags, context) = (self.access.context, self.context);
        self.ins().load(ty, flags, context, offset)
    }

    /// Stores a field of the context.
    pub(super) fn store_context(&mut self, value: Value, offset: i32) {
        let (flags, context) = (self.access.context, self.context);
        self.ins().store(flags, value, context, offset);
    }

    /// The address that is the given distance below the context address.
    pub(super) fn instance_address(&mut self, distance: u32) -> Value {
        let context = self.context;
        self.ins().iadd_imm_s(context, -i64::from(distance))
    }

    /// The address of something in the text.
    pub(super) fn symbol_address(&mut self, symbol: Symbol) -> Value {
        let name = symbol.name(self.builder.func);
        let data = GlobalValueData::Symbol { name, offset: 0.into(), colocated: true, tls: false };
        let global = self.builder.create_global_value(data);
        self.ins().symbol_value(ADDRESS, global)
    }

    /// Calls an rt function with the given arguments, and the context address if it takes that. Returns its result, if it has one.
    pub(super) fn call_rt(&mut self, function: RtFunction, args: &[Value]) -> Option<Value> {
        let number = function as usize;
        let signature = match self.rt_signatures[number] {
            Some(signature) => signature,
            None => {
                let signature = self.builder.import_signature(rt_signature(function));
                *self.rt_signatures[number].insert(signature)
            }
        };
        let address = self.load_context(ADDRESS, context_offset!(rt) + 8 * number as i32);
        let mut all: Vec<_> = takes_context(function).then_some(self.context).into_iter().collect();
        all.extend(args);
        let call = self.ins().call_indirect(signature, address, &all);
        self.builder.inst_results(call).first().copied()
    }

    /// Calls an rt function that takes its arguments (all 64-bit) by address.
    pub(super) fn call_rt_by_address(&mut self, function: RtFunction, args: &[Value]) -> Value {
        let slot = *self.arguments.get_or_insert_with(|| {
            let data = StackSlotData::new(StackSlotKind::ExplicitSlot, 8 * MAX_RT_ARGUMENTS, 3);
            self.builder.create_sized_stack_slot(data)
        });
        let address = self.ins().stack_addr(ADDRESS, slot, 0);
        let flags = self.access.arguments;
        for (index, &arg) in args.iter().enumerate() {
            self.ins().store(flags, arg, address, 8 * index as i32);
        }
        self.call_rt(function, &[address]).expect("functions with arguments by address have a result")
    }

    /// A reference to a function, for direct calls.
    pub(super) fn function_ref(&mut self, function: u32, signature: u32, ty: &FuncType) -> FuncRef {
        if let Some(&function) = self.functions.get(&function) {
            return function;
        }
        let signature = self.signature_ref(signature, ty);
        let name = Symbol::Function(function).name(self.builder.func);
        let data = ir::ExtFuncData { name, signature, colocated: true, patchable: false };
        let reference = self.builder.import_function(data);
        self.functions.insert(function, reference);
        reference
    }

    /// A reference to a function type, by the number that it shares with equal types.
    pub(super) fn signature_ref(&mut self, signature: u32, ty: &FuncType) -> SigRef {
        let builder = &mut self.builder;
        *self.signatures.entry(signature).or_insert_with(|| builder.import_signature(wasm_signature(ty)))
    }

    /// The value whose bits are those of a slot.
    pub(super) fn constant(&mut self, ty: ValType, bits: u128) -> Value {
        match ty {
            ValType::F32 => self.ins().f32const(ir::immediates::Ieee32::with_bits(bits as u32)),
            ValType::F64 => self.ins().f64const(ir::immediates::Ieee64::with_bits(bits as u64)),
            ValType::V128 => {
                let constant = self.builder.func.dfg.constants.insert(bits.to_le_bytes().as_slice().into());
                self.ins().vconst(types::I8X16, constant)
            }
            ValType::I64 => self.ins().iconst(types::I64, bits as i64),
            ValType::I32 | ValType::FuncRef | ValType::ExternRef | ValType::ExnRef | ValType::Ref(_) => {
                self.ins().iconst(value_type(ty), i64::from(bits as u32))
            }
        }
    }
}
