//! Makes the files.

use crate::directory;
use crate::goldens::{self, ARGUMENTS};
use crate::machine::{Host, Machine, Output, Reach, options};
use gate_compiler::Value::{self, ExternRef, I32, I64, V128};
use gate_compiler::{Options, SafepointKind, WasiImports};
use gate_image::{CallOutcome, Exit, Frame, Instance, InstanceOptions, PendingCall, Program, Snapshot};
use gate_runtime::{HostFunctions, TrapId};
use gate_wire::call::CallReply;
use std::fs;
use std::io::Write;
use std::time::Duration;

macro_rules! program {
    ($name:literal) => {
        include_str!(concat!("programs/", $name, ".wat"))
    };
}

/// A program, and how it is stopped.
struct Recipe {
    wat: &'static str,
    function: &'static str,
    args: Vec<Value>,
    breakpoint: bool,
    reach: Reach,
    reply: Option<CallReply>,
    stop: Stop,
}

enum Stop {
    /// Before its first instruction.
    Fresh,
    /// It comes to its end.
    End,
    /// At a random moment, if it is the right one.
    Random(fn(&[Frame]) -> bool),
    /// At a breakpoint.
    Breakpoint,
    /// In a host call, which has become this.
    Call(fn(&PendingCall) -> bool),
}

fn recipe(wat: &'static str, function: &'static str, args: &[Value], stop: Stop) -> Recipe {
    Recipe { wat, function, args: args.into(), breakpoint: false, reach: Reach::Nothing, reply: None, stop }
}

fn recipe_for(file: &str) -> Recipe {
    use SafepointKind::{Entry, Instruction, Loop};
    let (values, calls, ends) = (program!("values"), program!("calls"), program!("ends"));
    let in_loop = Stop::Random(|frames| frames[0].kind == Loop);
    let host = |reply, stop| Recipe { reply, ..recipe(program!("host"), "main", &[], stop) };
    let files = |which, reach| {
        let in_loop = Stop::Random(|frames| frames[0].kind == Loop);
        Recipe { reach, ..recipe(program!("files"), "main", &[I32(which)], in_loop) }
    };
    match file {
        "fresh" => recipe(values, "echo", &ARGUMENTS, Stop::Fresh),
        "entry" => {
            let deep = Stop::Random(|frames| frames[0].kind == Entry && frames.len() > 5);
            recipe(calls, "fib", &[I32(31)], deep)
        }
        "loop" => recipe(values, "loop", &[I32(2_000_000), I64(1)], in_loop),
        "chain" => recipe(calls, "chain", &[], in_loop),
        "bulk" => recipe(program!("bulk"), "fill", &[], Stop::Random(|frames| frames[0].kind == Instruction)),
        "breakpoint" => Recipe { breakpoint: true, ..recipe(calls, "chain", &[], Stop::Breakpoint) },
        "start" => recipe(program!("start"), "main", &[I32(-3), V128(99 << 64)], in_loop),
        "features" => recipe(program!("features"), "main", &[], in_loop),
        "regions" => recipe(program!("regions"), "main", &[], in_loop),
        "host_unsent" => host(None, Stop::Call(|call| call.reply.is_none())),
        "host_answered" => {
            host(Some(CallReply::Return(7)), Stop::Call(|call| call.reply == Some(CallOutcome::Returned(7))))
        }
        "host_refused" => host(
            Some(CallReply::Trap(TrapId::AbiDeficiency as u32)),
            Stop::Call(|call| matches!(call.reply, Some(CallOutcome::Refused(_)))),
        ),
        "returned" => recipe(ends, "return", &[I32(-77)], Stop::End),
        "trapped" => recipe(ends, "trap", &[], Stop::End),
        "terminated" => recipe(ends, "exit", &[], Stop::End),
        "references" => recipe(values, "keep", &[ExternRef(Some(4_000_000_000))], Stop::End),
        "wasi" => recipe(program!("wasi"), "_start", &[], in_loop),
        "files" => files(1, Reach::Files),
        "files_in_memory" => files(2, Reach::Memory),
        "sockets" => files(3, Reach::Sockets),
        _ => panic!("nobody knows how to make {file}"),
    }
}

/// Writes those files that do not exist.
#[tokio::test]
#[ignore = "makes files"]
async fn make_missing_files() {
    let machine = Machine::new().await;
    fs::create_dir_all(directory()).unwrap();
    for golden in goldens::all() {
        let path = directory().join(golden.file).with_extension("wasm");
        if path.exists() {
            continue;
        }
        let snapshot = make(&machine, &recipe_for(golden.file)).await;
        let mut file = fs::File::create_new(&path).unwrap();
        file.write_all(&snapshot).unwrap();
        println!("{}: {} bytes", path.display(), snapshot.len());
    }
    machine.close().await;
}

async fn make(machine: &Machine, recipe: &Recipe) -> Vec<u8> {
    let wasm = wat::parse_str(recipe.wat).unwrap();
    let breakpoints = recipe.breakpoint.then(|| breakpoint(&wasm)).into_iter().collect();
    let options = Options { breakpoints, ..options() };
    let program = Program::new(gate_compiler::compile(&wasm, &options, &WasiImports).unwrap()).unwrap();
    for attempt in 0..10_000 {
        let mut instance = Instance::new(&program, &InstanceOptions::default()).unwrap();
        instance.set_entry(recipe.function, &recipe.args).unwrap();
        // What it has written before is not written again.
        let mut host =
            Host::new(recipe.reply, &Output::default(), &["golden", "second"], "x", recipe.reach, true);
        if is_right(machine, recipe, &mut instance, &mut host, attempt).await {
            let mut snapshot = Vec::new();
            let services = host.save();
            Snapshot::new(&instance, &wasm, &services).unwrap().write(&mut snapshot).unwrap();
            return snapshot;
        }
    }
    panic!("it has never stopped in the right place");
}

/// Runs the program, and tells whether it has stopped where it should.
async fn is_right(
    machine: &Machine,
    recipe: &Recipe,
    instance: &mut Instance,
    host: &mut Host,
    attempt: u64,
) -> bool {
    let delay = match recipe.stop {
        Stop::Fresh => return true,
        // On a busy machine, it takes long to come anywhere.
        Stop::Random(_) => Some(Duration::from_micros(500 + attempt % 50 * 100 * (1 + attempt / 50))),
        Stop::Call(_) if recipe.reply.is_none() => Some(Duration::from_millis(20)),
        Stop::End | Stop::Breakpoint | Stop::Call(_) => None,
    };
    host.suspends = matches!(recipe.stop, Stop::Call(_)) && recipe.reply.is_some();
    machine.run(instance, host, delay).await;
    if instance.exit().unwrap() != Exit::Frozen {
        return matches!(recipe.stop, Stop::End);
    }
    let frames: Vec<_> = machine.executor.export(instance).await.unwrap().iter().unwrap().collect();
    match recipe.stop {
        Stop::Random(is_right) => is_right(&frames),
        Stop::Call(is_right) => instance.pending_call().unwrap().is_some_and(|call| is_right(&call)),
        Stop::Breakpoint => true,
        Stop::Fresh | Stop::End => false,
    }
}

/// Offset of an instruction which has an operand, in a function that is called by another one.
fn breakpoint(wasm: &[u8]) -> u32 {
    for payload in wasmparser::Parser::new(0).parse_all(wasm) {
        let wasmparser::Payload::CodeSectionEntry(body) = payload.unwrap() else { continue };
        for operator in body.get_operators_reader().unwrap().into_iter_with_offsets() {
            let (operator, offset) = operator.unwrap();
            if matches!(operator, wasmparser::Operator::I64x2Splat) {
                return u32::try_from(offset).unwrap();
            }
        }
    }
    panic!("no such instruction");
}
