//! Generates the code of single functions.

use crate::compiled::Safepoint;
use crate::error::{CompileError, ErrorKind};
use crate::features::Features;
use crate::symbol::Symbol;
use crate::translate::{self, Entrance, Env, ThunkEntrance, Translated};
use crate::trap;
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{Function, SourceLoc};
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::{CodegenError, Context, FinalizedRelocTarget};
use cranelift_frontend::FunctionBuilderContext;
use gate_wire::context::SMALL_FRAME;
use wasmparser::FuncValidatorAllocations;

/// Generates code. Keeps its memory from one function to the next.
pub(crate) struct Generator<'a> {
    env: &'a Env<'a>,
    isa: &'a dyn TargetIsa,
    context: Context,
    frontend: FunctionBuilderContext,
    allocations: FuncValidatorAllocations,
}

/// Code of a function. Offsets are from its start.
pub(crate) struct Code {
    pub(crate) bytes: Vec<u8>,
    pub(crate) alignment: u32,
    pub(crate) relocations: Vec<Relocation>,
    /// Offsets and trap numbers, by offset.
    pub(crate) traps: Vec<(u32, u8)>,
    /// Start, end and code offset of instruction sequences, by start.
    pub(crate) addresses: Vec<(u32, u32, u32)>,
    /// Bytes of stack that it takes, with the return address.
    pub(crate) frame_size: u32,
    /// Whether it can end in a tail call.
    pub(crate) tail_calls: bool,
    /// What the function uses.
    pub(crate) features: Features,
    pub(crate) safepoints: Vec<Safepoint>,
}

/// Where the place of a symbol is to be filled in.
pub(crate) struct Relocation {
    pub(crate) offset: u32,
    pub(crate) kind: RelocationKind,
    pub(crate) target: Symbol,
    pub(crate) addend: i64,
}

/// What is filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RelocationKind {
    /// A signed distance of 32 bits.
    Distance32,
    /// AArch64: a signed distance of 26 bits, in instructions, at the end of one.
    Branch26,
    /// AArch64: the signed distance in pages of 4 KiB from the instruction's, of 21 bits.
    Page21,
    /// AArch64: the offset in such a page, of 12 bits.
    PageOffset12,
}

/// Return address and frame pointer.
const FRAME_HEADER_SIZE: u32 = 16;

impl<'a> Generator<'a> {
    pub(crate) fn new(env: &'a Env<'a>, isa: &'a dyn TargetIsa) -> Self {
        Self {
            env,
            isa,
            context: Context::new(),
            frontend: FunctionBuilderContext::new(),
            allocations: FuncValidatorAllocations::default(),
        }
    }

    /// Generates the code of a function, imported or not.
    pub(crate) fn function(&mut self, function: u32) -> Result<Code, CompileError> {
        if function < self.env.module.imported_functions() {
            return self.thunk(function, ThunkEntrance::Start);
        }
        let code = self.body(function, Entrance::Start)?;
        if code.frame_size <= SMALL_FRAME {
            return Ok(code);
        }
        self.body(function, Entrance::StartLarge)
    }

    /// Generates the code that goes on at a safepoint.
    pub(crate) fn resume(&mut self, point: &'a Safepoint) -> Result<Code, CompileError> {
        if point.function < self.env.module.imported_functions() {
            return self.thunk(point.function, ThunkEntrance::Safepoint);
        }
        self.body(point.function, Entrance::Safepoint(point))
    }

    /// Generates the trampoline of a function.
    pub(crate) fn trampoline(&mut self, function: u32) -> Result<Code, CompileError> {
        self.context.clear();
        let config = self.isa.frontend_config();
        translate::trampoline(self.env, function, &mut self.context.func, &mut self.frontend, config);
        self.generate(function, Translated::default())
    }

    /// Generates the trampoline through which a function goes on.
    pub(crate) fn resume_trampoline(&mut self, function: u32) -> Result<Code, CompileError> {
        self.context.clear();
        let config = self.isa.frontend_config();
        translate::resume_trampoline(self.env, function, &mut self.context.func, &mut self.frontend, config);
        self.generate(function, Translated::default())
    }

    fn thunk(&mut self, function: u32, entrance: ThunkEntrance) -> Result<Code, CompileError> {
        self.context.clear();
        let config = self.isa.frontend_config();
        let func = &mut self.context.func;
        let safepoint = translate::thunk(self.env, function, entrance, func, &mut self.frontend, config);
        self.generate(function, Translated { safepoints: vec![safepoint], ..Translated::default() })
    }

    fn body(&mut self, function: u32, entrance: Entrance<'a>) -> Result<Code, CompileError> {
        self.context.clear();
        let result = translate::function(
            self.env,
            function,
            entrance,
            &mut self.context.func,
            &mut self.frontend,
            self.isa.frontend_config(),
            &mut self.allocations,
        );
        let translated = result.inspect_err(|_| {
            // What is left of a function that was given up must not get into the next.
            self.frontend = FunctionBuilderContext::new();
        })?;
        self.generate(function, translated)
    }

    fn generate(&mut self, function: u32, translated: Translated) -> Result<Code, CompileError> {
        let Translated { safepoints, tail_calls, features } = translated;
        if let Err(error) = self.context.compile(self.isa, &mut ControlPlane::default()) {
            let offset = (function >= self.env.module.imported_functions())
                .then(|| self.env.module.body(function).body.range().start);
            return Err(codegen_error(function, offset, error.inner));
        }
        let compiled = self.context.compiled_code().expect("compilation was successful");
        let buffer = &compiled.buffer;
        let bytes = compiled.code_buffer().to_vec();
        let alignment = buffer.alignment.max(self.isa.function_alignment().preferred);
        let traps = buffer.traps().iter().map(|site| (site.offset, trap::id(site.code) as u8)).collect();
        let addresses = buffer
            .get_srclocs_sorted()
            .iter()
            .filter(|range| range.loc != SourceLoc::default())
            .map(|range| (range.start, range.end, range.loc.bits()))
            .collect();
        let frame_size = buffer.frame_layout().map_or(0, |layout| layout.frame_to_fp_offset)
            + tail_calls.arguments_size
            + FRAME_HEADER_SIZE;
        let tail_calls = tail_calls.any;
        let relocations = buffer
            .relocs()
            .iter()
            .map(|reloc| {
                let relocation = relocation(reloc.kind, &reloc.target, &self.context.func);
                let (kind, target) = relocation.ok_or_else(|| {
                    let message = format!("function {function}: unexpected relocation {reloc:?}");
                    CompileError::internal(message)
                })?;
                Ok(Relocation { offset: reloc.offset, kind, target, addend: reloc.addend })
            })
            .collect::<Result<_, CompileError>>()?;
        Ok(Code {
            bytes,
            alignment,
            relocations,
            traps,
            addresses,
            frame_size,
            tail_calls,
            features,
            safepoints,
        })
    }
}

fn relocation(
    kind: Reloc,
    target: &FinalizedRelocTarget,
    func: &Function,
) -> Option<(RelocationKind, Symbol)> {
    let kind = match kind {
        Reloc::X86CallPCRel4 | Reloc::X86PCRel4 => RelocationKind::Distance32,
        Reloc::Arm64Call => RelocationKind::Branch26,
        Reloc::Aarch64AdrPrelPgHi21 => RelocationKind::Page21,
        Reloc::Aarch64AddAbsLo12Nc => RelocationKind::PageOffset12,
        _ => return None,
    };
    match target {
        FinalizedRelocTarget::ExternalName(name) => Some((kind, Symbol::from_name(name, func)?)),
        FinalizedRelocTarget::Func(_) => None,
    }
}

fn codegen_error(function: u32, offset: Option<u64>, error: CodegenError) -> CompileError {
    match error {
        CodegenError::ImplLimitExceeded | CodegenError::CodeTooLarge => {
            CompileError::new(ErrorKind::Limit, offset, format!("function {function}: too large: {error}"))
        }
        _ => CompileError::new(ErrorKind::Internal, offset, format!("function {function}: {error}")),
    }
}
