//! A host that adds a service of its own, and runs a program which uses it:
//!
//!     cargo run -p gate-service --example host

use gate_compiler::{GateImports, Options};
use gate_image::{Instance, InstanceOptions, Program};
use gate_runtime::{Config, DebugLog, Executor, NoHostFunctions, Outcome, PacketHost, ProcessPolicy};
use gate_service::{CallService, Context, Registry, ServiceError};
use std::error::Error;

/// Answers calls with what they say, louder.
struct Shout;

impl CallService for Shout {
    fn name(&self) -> &str {
        "shout"
    }

    async fn call(&self, _: &Context, content: &[u8]) -> Result<Vec<u8>, ServiceError> {
        Ok(content.to_ascii_uppercase())
    }
}

/// Runs a program, which can discover the service, until it ends.
pub(crate) async fn run(wasm: &[u8], log: DebugLog) -> Result<Outcome, Box<dyn Error>> {
    let program = Program::new(gate_compiler::compile(wasm, &Options::default(), &GateImports)?)?;
    let mut instance = Instance::new(&program, &InstanceOptions::default())?;
    instance.set_program_entry("_start")?;

    let mut registry = Registry::new(Context::default());
    registry.register_common()?;
    registry.register_calls(Shout)?;
    let mut host = PacketHost::new(registry, NoHostFunctions)?;
    host.set_debug_log(log);

    let executor = Executor::new(Config::default()).await?;
    let mut process = executor.new_process().await?;
    process.start(&program, &mut instance, ProcessPolicy::default())?;
    Ok(process.serve(&mut host).await?)
}

/// Discovers `shout`, calls it with eight bytes, and writes the reply to the debug log.
pub(crate) const PROGRAM: &str = r#"(module
    (import "env" "rt_read8" (func $read (result i64)))
    (import "env" "rt_write8" (func $write (param i64)))
    (import "env" "rt_debug" (func $debug (param i32 i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\10\00\00\00\ff\ff\00\00" "\01\00\05shout" "\10\00\00\00\00\00\00\00" "whisper!")
    (func $send (param $at i32)
        (call $write (i64.load (local.get $at)))
        (call $write (i64.load offset=8 (local.get $at))))
    (func (export "_start")
        (call $send (i32.const 0))
        (drop (call $read)) ;; Header,
        (drop (call $read)) ;; and which services there are.
        (call $send (i32.const 16))
        (drop (call $read))
        (i64.store (i32.const 64) (call $read))
        (call $debug (i32.const 64) (i32.const 8))))"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let log = Box::new(|message: &[u8]| println!("{}", String::from_utf8_lossy(message)));
    println!("{}", run(&wat::parse_str(PROGRAM)?, log).await?);
    Ok(())
}
