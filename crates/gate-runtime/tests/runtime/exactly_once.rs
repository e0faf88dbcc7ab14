//! Host calls and suspensions: each call is made once, whatever the moment at which the program is stopped.

use crate::machine::{TestHost, compile, executor, instantiate, start};
use crate::stops::{Stops, run_with_stops};
use gate_compiler::Value::I32;
use gate_image::{Exit, GuestMemory, Instance, InstanceError, Program, ProgramError};
use gate_runtime::{
    Executor, HostFault, HostFunctions, Killer, NoHostFunctions, Process, ProcessPolicy, TrapId,
};
use gate_wire::call::{CallReply, CallRequest};
use std::time::Duration;

/// Calls the host with the numbers from zero on, adds up what it answers, and checks it.
const SEQUENCE: &str = r#"(module
    (import "test" "add" (func $call (param i32 i32) (result i32)))
    (func (export "sequence") (param $n i32) (result i32) (local $i i32) (local $sum i32)
        (loop $again
            (local.set $sum (call $call (local.get $i) (local.get $sum)))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
        local.get $sum))"#;

/// Notes each call that is completed, and completes it sooner or later.
#[derive(Default)]
struct Recorder {
    completed: Vec<u32>,
    dropped: usize,
}

impl HostFunctions for Recorder {
    async fn call(&mut self, request: &CallRequest, _: &GuestMemory) -> Result<CallReply, HostFault> {
        let mut guard = Dropped { count: &mut self.dropped, armed: true };
        match rand::random_range(0..4) {
            0 => {}
            1 => tokio::task::yield_now().await,
            _ => tokio::time::sleep(Duration::from_micros(rand::random_range(0..300))).await,
        }
        guard.armed = false;
        let [number, sum, ..] = request.args.map(|arg| arg as u32);
        self.completed.push(number);
        Ok(CallReply::Return(sum.wrapping_add(number.wrapping_mul(3)).into()))
    }
}

struct Dropped<'a> {
    count: &'a mut usize,
    armed: bool,
}

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        *self.count += usize::from(self.armed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_neither_lost_nor_doubled() {
    const CALLS: u32 = 3000;
    let executor = executor().await;
    let program = compile(SEQUENCE);
    let mut instance = instantiate(&program);
    instance.set_entry("sequence", &[I32(CALLS as i32)]).unwrap();
    let mut host = Recorder::default();
    let stops = Stops { most: 600, delays: 0..2500 };
    let (outcome, count) = run_with_stops(&executor, &mut instance, &mut host, stops).await;
    assert_eq!(outcome.trap, TrapId::Exit);
    assert_eq!(instance.results().unwrap(), [I32((0..CALLS).sum::<u32>() as i32 * 3)]);
    assert!(host.completed.iter().copied().eq(0..CALLS));
    println!("{count} stops, {} calls dropped", host.dropped);
    assert!(count > 100 && host.dropped > 0);
    executor.close().await;
}

async fn resume(executor: &Executor, instance: &mut Instance) -> Process {
    let mut process = executor.new_process().await.unwrap();
    process.start(&instance.program().clone(), instance, ProcessPolicy::default()).unwrap();
    process
}

/// Waits until the process has nothing to do with the instance any more.
async fn wait_released(instance: &mut Instance) {
    for _ in 0..1000 {
        match instance.set_entry("sequence", &[I32(0)]) {
            Err(InstanceError::Program(ProgramError::Running)) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            _ => return,
        }
    }
    panic!("the instance is still in use");
}

#[tokio::test]
async fn a_request_that_nobody_received_is_made_anew() {
    let executor = executor().await;
    let program = compile(SEQUENCE);
    for dropped in [false, true] {
        let mut instance = instantiate(&program);
        let mut process = start(&executor, &mut instance, "sequence", &[I32(2)]).await;
        // Nobody serves it, so that the request is in the socket.
        tokio::time::sleep(Duration::from_millis(20)).await;
        process.suspend();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut host = Recorder::default();
        if dropped {
            drop(process);
            wait_released(&mut instance).await;
        } else {
            assert_eq!(process.serve(&mut host).await.unwrap().trap, TrapId::Suspended);
        }
        assert_eq!(instance.exit().unwrap(), Exit::Frozen);
        let outcome = resume(&executor, &mut instance).await.serve(&mut host).await.unwrap();
        assert_eq!((outcome.trap, outcome.result.value()), (TrapId::Exit, 0));
        assert_eq!(instance.results().unwrap(), [I32(3)]);
        assert_eq!(host.completed, [0, 1]);
    }
    executor.close().await;
}

/// Stops the program before it can receive the reply.
struct Hasty {
    killer: Killer,
    reply: CallReply,
    calls: usize,
}

impl HostFunctions for Hasty {
    async fn call(&mut self, _: &CallRequest, _: &GuestMemory) -> Result<CallReply, HostFault> {
        self.calls += 1;
        self.killer.suspend();
        // Not asleep as a task: this is the poll that completes the future, and the program stops meanwhile.
        std::thread::sleep(Duration::from_millis(30));
        Ok(self.reply)
    }
}

struct Refusing;

impl HostFunctions for Refusing {
    async fn call(&mut self, _: &CallRequest, _: &GuestMemory) -> Result<CallReply, HostFault> {
        Ok(CallReply::Trap(TrapId::AbiDeficiency as u32))
    }
}

#[tokio::test]
async fn a_reply_that_was_not_received_is_kept() {
    let executor = executor().await;
    let program = compile(SEQUENCE);
    let mut undisturbed = instantiate(&program);
    let mut process = start(&executor, &mut undisturbed, "sequence", &[I32(1)]).await;
    let mut refusing = Refusing;
    assert_eq!(process.serve(&mut refusing).await.unwrap().trap, TrapId::AbiDeficiency);
    let frames = |instance: &Instance| -> Vec<_> {
        let backtrace = instance.backtrace().unwrap();
        assert!(!backtrace.frames().is_empty());
        backtrace.frames().iter().map(|frame| (frame.function, frame.wasm_offset)).collect()
    };
    for reply in [CallReply::Return(1234), CallReply::Trap(TrapId::AbiDeficiency as u32)] {
        let mut instance = instantiate(&program);
        let mut process = start(&executor, &mut instance, "sequence", &[I32(1)]).await;
        let mut host = Hasty { killer: process.killer(), reply, calls: 0 };
        assert_eq!(process.serve(&mut host).await.unwrap().trap, TrapId::Suspended);
        assert_eq!(host.calls, 1);
        // Being killed before it goes on makes no difference.
        for _ in 0..3 {
            let mut process = executor.new_process().await.unwrap();
            process.kill();
            process.start(&program, &mut instance, ProcessPolicy::default()).unwrap();
            assert_eq!(process.serve(&mut NoHostFunctions).await.unwrap().trap, TrapId::Killed);
        }
        let outcome = resume(&executor, &mut instance).await.serve(&mut NoHostFunctions).await.unwrap();
        match reply {
            CallReply::Return(_) => {
                assert_eq!(outcome.trap, TrapId::Exit);
                assert_eq!(instance.results().unwrap(), [I32(1234)]);
            }
            CallReply::Trap(_) => {
                assert_eq!(outcome.trap, TrapId::AbiDeficiency);
                // Where it would have been without being stopped.
                assert_eq!(frames(&instance), frames(&undisturbed));
            }
        }
    }
    executor.close().await;
}

#[tokio::test]
async fn an_answered_call_of_a_dropped_process_stays_answered() {
    let executor = executor().await;
    let program = compile(SEQUENCE);
    let mut instance = instantiate(&program);
    let mut process = start(&executor, &mut instance, "sequence", &[I32(1)]).await;
    let mut host = Hasty { killer: process.killer(), reply: CallReply::Return(77), calls: 0 };
    {
        // Dropped after the reply was made, and before its end is known.
        let serve = process.serve(&mut host);
        let mut serve = std::pin::pin!(serve);
        while !instance_is_called(&mut serve).await {}
    }
    assert_eq!(host.calls, 1);
    drop(process);
    wait_released(&mut instance).await;
    assert_eq!(instance.exit().unwrap(), Exit::Frozen);
    let outcome = resume(&executor, &mut instance).await.serve(&mut NoHostFunctions).await.unwrap();
    assert_eq!(outcome.trap, TrapId::Exit);
    assert_eq!(instance.results().unwrap(), [I32(77)]);
    executor.close().await;
}

/// Polls once. Whether that took so long that the host function must have been in it.
async fn instance_is_called(serve: &mut (impl Future + Unpin)) -> bool {
    let start = std::time::Instant::now();
    let done = std::future::poll_fn(|cx| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut *serve).poll(cx).is_ready())
    })
    .await;
    assert!(!done || start.elapsed() > Duration::from_millis(25));
    tokio::task::yield_now().await;
    start.elapsed() > Duration::from_millis(25)
}

#[tokio::test]
async fn a_waiting_call_is_dropped_and_made_again() {
    let executor = executor().await;
    let program = compile(
        r#"(module (import "test" "stuck" (func $stuck)) (func (export "wait") (call $stuck) (call $stuck)))"#,
    );
    let mut instance = instantiate(&program);
    instance.set_entry("wait", &[]).unwrap();
    let mut host = TestHost::default();
    for round in 1..=5 {
        let mut process = resume(&executor, &mut instance).await;
        let cancelled = tokio::time::sleep(Duration::from_millis(10));
        assert_eq!(process.serve_until(&mut host, cancelled).await.unwrap().trap, TrapId::Suspended);
        assert_eq!(host.calls, round);
    }
    host.stuck = false;
    let outcome = resume(&executor, &mut instance).await.serve(&mut host).await.unwrap();
    assert_eq!((outcome.trap, host.calls), (TrapId::Exit, 7));
    executor.close().await;
}

#[tokio::test]
async fn serving_ends_before_it_is_cancelled() {
    let executor = executor().await;
    let program: Program = compile(SEQUENCE);
    let mut instance = instantiate(&program);
    let mut process = start(&executor, &mut instance, "sequence", &[I32(5)]).await;
    let mut host = TestHost::default();
    let outcome = process.serve_until(&mut host, std::future::pending()).await.unwrap();
    assert_eq!((outcome.trap, host.calls), (TrapId::Exit, 5));
    // Cancelled from the beginning: it may get anywhere, and goes on from there.
    let mut instance = instantiate(&program);
    let mut process = start(&executor, &mut instance, "sequence", &[I32(100_000)]).await;
    assert_eq!(process.serve_until(&mut host, async {}).await.unwrap().trap, TrapId::Suspended);
    executor.close().await;
}
