//! Random modules, each with a function that calls all the others for a while.

use anyhow::{Context, bail};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use wasm_encoder::{BlockType, Encode, Function, Instruction, RawSection};
use wasm_smith::{Config, Module};
use wasmparser::{BinaryReader, FuncType, Parser, Payload, ValType};

/// Name of the export of the function that calls the others: `() -> i64`.
pub(crate) const DRIVER: &str = "the driver";

/// How often functions are entered and loops are repeated before the module stops itself with a trap.
const FUEL: u32 = 300_000;

/// Number of the driver's rounds.
const ROUNDS: i32 = 2000;

/// Makes a module. The same seed gives the same one. Those of odd seeds may trap.
pub(crate) fn module(seed: u64) -> anyhow::Result<Vec<u8>> {
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..100 {
        let mut bytes = vec![0; rng.random_range(1000..12_000)];
        rng.fill_bytes(&mut bytes);
        if let Some(wasm) = make(&bytes, seed % 2 == 1, &mut rng)? {
            return Ok(wasm);
        }
    }
    bail!("no module with functions for seed {seed}")
}

/// Makes the module of which the bytes decide.
pub(crate) fn module_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let (&[traps, a, b, c], bytes) = bytes.split_first_chunk()?;
    let mut rng = StdRng::seed_from_u64(u32::from_le_bytes([0, a, b, c]).into());
    make(bytes, traps % 2 == 1, &mut rng).ok()?
}

fn make(bytes: &[u8], traps: bool, rng: &mut StdRng) -> anyhow::Result<Option<Vec<u8>>> {
    let mut input = arbitrary::Unstructured::new(bytes);
    let Ok(mut module) = Module::new(config(traps), &mut input) else { return Ok(None) };
    if module.ensure_termination(FUEL).is_err() {
        return Ok(None);
    }
    with_driver(&module.to_bytes(), rng)
}

/// Modules that do the same everywhere, and rarely trap before their fuel is used up, unless they may.
fn config(traps: bool) -> Config {
    Config {
        max_imports: 0,
        min_funcs: 2,
        max_funcs: 10,
        min_memories: 1,
        max_memories: 3,
        // Engines differ in whether a limit is for each memory or for all.
        memory_max_size_required: true,
        max_memory32_bytes: 1 << 22,
        max_memory64_bytes: 1 << 22,
        max_tables: 3,
        max_table_elements: 1000,
        max_instructions: 400,
        export_everything: true,
        disallow_traps: !traps,
        canonicalize_nans: true,
        allow_start_export: false,
        bulk_memory_enabled: true,
        reference_types_enabled: true,
        multi_value_enabled: true,
        simd_enabled: true,
        // Other engines choose other results.
        relaxed_simd_enabled: false,
        threads_enabled: false,
        exceptions_enabled: true,
        tail_call_enabled: true,
        memory64_enabled: true,
        gc_enabled: false,
        wide_arithmetic_enabled: false,
        custom_page_sizes_enabled: false,
        extended_const_enabled: true,
        ..Config::default()
    }
}

/// Adds the driver. `None` if there is nothing for it to call.
fn with_driver(wasm: &[u8], rng: &mut StdRng) -> anyhow::Result<Option<Vec<u8>>> {
    let functions = Functions::read(wasm)?;
    if functions.types.is_empty() {
        return Ok(None);
    }
    let driver = driver(&functions, rng)?;
    let mut module = wasm_encoder::Module::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        let Some((id, range)) = payload.as_section() else { continue };
        let contents = &wasm[range.start as usize..range.end as usize];
        let mut item = Vec::new();
        match payload {
            Payload::CustomSection(_) => continue,
            // A function type, without parameters, with one result of type i64.
            Payload::TypeSection(_) => item.extend([0x60, 0, 1, 0x7e]),
            Payload::FunctionSection(_) => functions.type_count.encode(&mut item),
            Payload::ExportSection(_) => {
                DRIVER.encode(&mut item);
                item.push(0);
                (functions.types.len() as u32).encode(&mut item);
            }
            Payload::CodeSectionStart { .. } => driver.encode(&mut item),
            _ => {
                module.section(&RawSection { id, data: contents });
                continue;
            }
        }
        module.section(&RawSection { id, data: &with_item(contents, &item)? });
    }
    let wasm = module.finish();
    wasmparser::Validator::new().validate_all(&wasm).context("the module with its driver is not valid")?;
    Ok(Some(wasm))
}

/// A section's contents with one item more.
fn with_item(contents: &[u8], item: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut reader = BinaryReader::new(contents, 0);
    let count = reader.read_var_u32()?;
    let items = reader.read_bytes(reader.bytes_remaining())?;
    let mut data = Vec::with_capacity(5 + items.len() + item.len());
    (count + 1).encode(&mut data);
    data.extend(items);
    data.extend(item);
    Ok(data)
}

/// The functions of a module that imports nothing.
struct Functions {
    /// By index.
    types: Vec<FuncType>,
    /// Number of types of the module.
    type_count: u32,
}

impl Functions {
    fn read(wasm: &[u8]) -> anyhow::Result<Self> {
        let (mut all, mut types) = (Vec::new(), Vec::new());
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(section) => {
                    for ty in section.into_iter_err_on_gc_types() {
                        all.push(ty?);
                    }
                }
                Payload::FunctionSection(section) => {
                    for index in section {
                        types.push(all[index? as usize].clone());
                    }
                }
                _ => {}
            }
        }
        Ok(Self { types, type_count: all.len() as u32 })
    }
}

/// Calls some of the functions, in rounds, with arguments that stay the same, and mixes what they return.
fn driver(functions: &Functions, rng: &mut StdRng) -> anyhow::Result<Function> {
    use wasm_encoder::ValType::{I32, I64};
    const ROUND: u32 = 0;
    const SUM: u32 = 1;
    let mut body = Function::new([(1, I32), (1, I64)]);
    body.instruction(&Instruction::Loop(BlockType::Empty));
    for _ in 0..rng.random_range(1..=4) {
        let index = rng.random_range(0..functions.types.len());
        let ty = &functions.types[index];
        for &param in ty.params() {
            argument(&mut body, param, rng)?;
        }
        body.instruction(&Instruction::Call(index as u32));
        for &result in ty.results().iter().rev() {
            mix(&mut body, result, SUM);
        }
    }
    for instruction in [
        Instruction::LocalGet(ROUND),
        Instruction::I32Const(1),
        Instruction::I32Add,
        Instruction::LocalTee(ROUND),
        Instruction::I32Const(ROUNDS),
        Instruction::I32LtU,
        Instruction::BrIf(0),
        Instruction::End,
        Instruction::LocalGet(SUM),
        Instruction::End,
    ] {
        body.instruction(&instruction);
    }
    Ok(body)
}

fn argument(body: &mut Function, ty: ValType, rng: &mut StdRng) -> anyhow::Result<()> {
    body.instruction(&match ty {
        ValType::I32 => Instruction::I32Const(rng.random()),
        ValType::I64 => Instruction::I64Const(rng.random()),
        ValType::F32 => Instruction::F32Const(f32::from_bits(rng.random::<u32>() & 0x4fff_ffff).into()),
        ValType::F64 => {
            Instruction::F64Const(f64::from_bits(rng.random::<u64>() & 0x4fff_ffff_ffff_ffff).into())
        }
        ValType::V128 => Instruction::V128Const(rng.random()),
        ValType::FUNCREF => Instruction::RefNull(wasm_encoder::HeapType::FUNC),
        ValType::EXTERNREF => Instruction::RefNull(wasm_encoder::HeapType::EXTERN),
        ValType::EXNREF => Instruction::RefNull(EXN),
        other => bail!("a parameter of type {other}"),
    });
    Ok(())
}

const EXN: wasm_encoder::HeapType =
    wasm_encoder::HeapType::Abstract { shared: false, ty: wasm_encoder::AbstractHeapType::Exn };

/// Takes a value from the stack, and adds what it consists of to the local.
fn mix(body: &mut Function, ty: ValType, sum: u32) {
    let bits: &[Instruction<'_>] = match ty {
        ValType::I32 => &[Instruction::I64ExtendI32U],
        ValType::I64 => &[],
        ValType::F32 => &[Instruction::I32ReinterpretF32, Instruction::I64ExtendI32U],
        ValType::F64 => &[Instruction::I64ReinterpretF64],
        ValType::V128 => &[Instruction::I64x2ExtractLane(1)],
        _ => &[Instruction::RefIsNull, Instruction::I64ExtendI32U],
    };
    for instruction in bits {
        body.instruction(instruction);
    }
    for instruction in [
        Instruction::LocalGet(sum),
        Instruction::I64Const(0x9e37_79b9_7f4a_7c15_u64.cast_signed()),
        Instruction::I64Mul,
        Instruction::I64Add,
        Instruction::LocalSet(sum),
    ] {
        body.instruction(&instruction);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_valid_and_the_same_for_the_same_seed() {
        for seed in 0..20 {
            let wasm = module(seed).unwrap();
            assert_eq!(wasm, module(seed).unwrap());
            assert_ne!(wasm, module(seed + 1000).unwrap());
        }
    }
}
