//! Programs call services.

use gate_compiler::{GateImports, Options};
use gate_image::{Instance, InstanceOptions, Program};
use gate_runtime::{
    Config, Executor, NoHostFunctions, Outcome, PacketHost, ProcessError, ProcessPolicy, TrapId,
};
use gate_service::{CallService, Context, Registry, ServiceError};
use std::time::Duration;

struct Shout;

impl CallService for Shout {
    fn name(&self) -> &str {
        "shout"
    }

    async fn call(&self, _: &Context, content: &[u8]) -> Result<Vec<u8>, ServiceError> {
        match content {
            b"sleep   " => tokio::time::sleep(Duration::from_millis(20)).await,
            b"panic   " => panic!("as it was told"),
            b"forever " => std::future::pending().await,
            _ => {}
        }
        Ok(content.to_ascii_uppercase())
    }
}

/// Discovers `shout`, sends it `word`, and returns the first bytes of the reply as a number.
fn program(word: &str) -> Vec<u8> {
    assert_eq!(word.len(), 8);
    let text = format!(
        r#"(module
        (import "gate" "io_65536" (func $io (param i32 i32 i32 i32 i32 i32 i64 i32)))
        (memory (export "memory") 1)
        ;; Buffers: of what is received, of what is sent.
        (data (i32.const 0) "\00\01\00\00\00\10\00\00" "\80\00\00\00\10\00\00\00")
        (data (i32.const 128) "\10\00\00\00\ff\ff\00\00" "\01\00\05shout")
        (data (i32.const 144) "\10\00\00\00\00\00\00\00" "{word}")
        (func $exchange (param $size i32)
            ;; Sends all, and then receives all of a packet.
            (local $n i32)
            (loop $more
                (call $io (i32.const 0) (i32.const 1) (i32.const 16) (i32.const 8) (i32.const 1) (i32.const 20) (i64.const -1) (i32.const 24))
                (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.load (i32.const 20))))
                (i32.store (i32.const 12) (i32.sub (i32.load (i32.const 12)) (i32.load (i32.const 20))))
                (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.load (i32.const 16))))
                (local.set $n (i32.add (local.get $n) (i32.load (i32.const 16))))
                (br_if $more (i32.or (i32.load (i32.const 12)) (i32.lt_u (local.get $n) (local.get $size))))))
        (func (export "_start") (result i32)
            (call $exchange (i32.const 16))
            (i32.store (i32.const 12) (i32.const 16))
            (call $exchange (i32.const 16))
            (i32.store (i32.const 32) (i32.load (i32.const 280)))
            (i32.store (i32.const 36) (i32.load (i32.const 284)))
            (i32.const 0)))"#
    );
    wat::parse_str(text).unwrap()
}

fn instance(wasm: &[u8]) -> (Program, Instance) {
    let module = gate_compiler::compile(wasm, &Options::default(), &GateImports).unwrap();
    let program = Program::new(module).unwrap();
    let mut instance = Instance::new(&program, &InstanceOptions::default()).unwrap();
    instance.set_program_entry("_start").unwrap();
    (program, instance)
}

async fn run(
    program: &Program,
    instance: &mut Instance,
    host: &mut PacketHost<Registry, NoHostFunctions>,
    limit: Duration,
) -> Result<Outcome, ProcessError> {
    let executor = Executor::new(Config::default()).await.unwrap();
    let mut process = executor.new_process().await.unwrap();
    process.start(program, instance, ProcessPolicy::default()).unwrap();
    let outcome = process.serve_until(host, tokio::time::sleep(limit)).await;
    process.close().await;
    outcome
}

fn host() -> PacketHost<Registry, NoHostFunctions> {
    let mut registry = Registry::new(Context::default());
    registry.register_calls(Shout).unwrap();
    PacketHost::new(registry, NoHostFunctions).unwrap()
}

fn answer(instance: &Instance) -> String {
    let mut bytes = [0; 8];
    instance.memory(0).unwrap().read(32, &mut bytes).unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_program_discovers_and_calls() {
    for word in ["whisper ", "sleep   "] {
        let (program, mut instance) = instance(&program(word));
        let outcome = run(&program, &mut instance, &mut host(), LONG).await.unwrap();
        assert_eq!((outcome.trap, outcome.result.value()), (TrapId::Exit, 0));
        assert_eq!(answer(&instance), word.to_ascii_uppercase());
    }
}

#[tokio::test]
async fn a_service_that_panics_stops_its_program_only() {
    let (program, mut instance) = instance(&program("panic   "));
    let error = run(&program, &mut instance, &mut host(), LONG).await.unwrap_err();
    assert!(error.to_string().contains("service \"shout\" has panicked: as it was told"), "{error}");
}

#[tokio::test]
async fn a_call_that_is_not_answered_is_made_again() {
    let wasm = program("sleep   ");
    let (program, mut instance) = instance(&wasm);
    let mut first = host();
    let outcome = run(&program, &mut instance, &mut first, Duration::from_millis(5)).await.unwrap();
    assert_eq!(outcome.trap, TrapId::Suspended);
    let saved = gate_runtime::HostFunctions::save(&first);
    drop(first);
    let mut second = host();
    gate_runtime::HostFunctions::restore(&mut second, &saved).unwrap();
    assert_eq!(gate_runtime::HostFunctions::save(&second), saved);
    let outcome = run(&program, &mut instance, &mut second, LONG).await.unwrap();
    assert_eq!(outcome.trap, TrapId::Exit);
    // After going on, the states of the services come before the answer.
    let mut packet = [0; 8];
    instance.memory(0).unwrap().read(272, &mut packet).unwrap();
    assert_eq!(packet, *b"\x0b\x00\x00\x00\xff\xff\x01\x00");
}

#[tokio::test]
async fn a_call_that_hangs_keeps_only_its_own_program_waiting() {
    let (hanging, mut hanging_instance) = instance(&program("forever "));
    let wasm = program("whisper ");
    let mut host_of_hanging = host();
    let mut hang = std::pin::pin!(run(&hanging, &mut hanging_instance, &mut host_of_hanging, LONG));
    for _ in 0..3 {
        let (program, mut one) = instance(&wasm);
        let mut host = host();
        tokio::select! {
            outcome = &mut hang => panic!("{outcome:?}"),
            outcome = run(&program, &mut one, &mut host, LONG) => {
                assert_eq!(outcome.unwrap().trap, TrapId::Exit);
            }
        }
        assert_eq!(answer(&one), "WHISPER ");
    }
}
