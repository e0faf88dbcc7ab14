//! Stopping programs at any moment, and letting them go on in the same place.

use crate::machine::{TestHost, compile, executor, instantiate, run, start};
use crate::stops::{Stops, run_with_stops};
use crate::text::Text;
use gate_compiler::Value::{I32, I64};
use gate_image::{Exit, Instance, InstanceError, InstanceOptions, Program, ProgramError};
use gate_runtime::{Executor, NoHostFunctions, Process, ProcessError, ProcessPolicy, TrapId};
use std::time::{Duration, Instant};

/// Programs that compute for some tens of milliseconds, each stopping at other kinds of places.
const PROGRAMS: &str = r#"(module
    (memory 1 2000)
    (table 64 funcref)
    (elem declare func $step)
    (type $step (func (param i64) (result i64)))
    (global $seed (mut i64) (i64.const 1))
    (func $step (type $step)
        (i64.add (i64.mul (local.get 0) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)))

    (func (export "loop") (param $n i64) (result i64) (local $x i64) (local $f f64) (local $v v128)
        (local.set $x (i64.const 42))
        (loop $again
            (local.set $x (i64.add (i64.mul (local.get $x) (i64.const 6364136223846793005)) (local.get $n)))
            (local.set $f (f64.add (local.get $f) (f64.convert_i64_s (local.get $x))))
            (local.set $v (i32x4.add (local.get $v) (i32x4.splat (i32.wrap_i64 (local.get $x)))))
            (br_if $again (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
        (i64.add (local.get $x) (i64.add (i64.reinterpret_f64 (local.get $f))
            (i64x2.extract_lane 1 (local.get $v)))))

    (func $deep (param $depth i32) (param $x i64) (result i64)
        (if (result i64) (local.get $depth)
            (then (i64.xor (local.get $x)
                (call $deep (i32.sub (local.get $depth) (i32.const 1))
                    (i64.add (i64.rotl (local.get $x) (i64.const 7)) (i64.extend_i32_u (local.get $depth))))))
            (else (local.get $x))))
    (func (export "recursion") (param $n i64) (result i64) (local $x i64)
        (loop $again
            (local.set $x (call $deep (i32.const 5000) (i64.add (local.get $x) (local.get $n))))
            (br_if $again (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
        local.get $x)

    (func (export "indirect") (param $n i64) (result i64) (local $x i64)
        (table.set (i32.const 9) (ref.func $step))
        (loop $again
            (local.set $x (call_indirect (type $step) (local.get $x) (i32.const 9)))
            (global.set $seed (i64.xor (global.get $seed) (local.get $x)))
            (br_if $again (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
        (i64.add (local.get $x) (global.get $seed)))

    (func (export "memory") (param $n i64) (result i64) (local $i i32) (local $sum i64)
        (drop (memory.grow (i32.const 255)))
        (loop $again
            (memory.fill (i32.const 0) (i32.wrap_i64 (local.get $n)) (i32.const 0x800000))
            (memory.copy (i32.const 0x7ffffd) (i32.const 3) (i32.const 0x7fff00))
            (memory.copy (i32.const 1) (i32.const 0) (i32.const 0xff0000))
            (local.set $i (i32.const 0))
            (loop $add
                (local.set $sum (i64.add (i64.rotl (local.get $sum) (i64.const 1)) (i64.load (local.get $i))))
                (br_if $add (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4093))) (i32.const 0xff0000))))
            (br_if $again (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
        local.get $sum)
)"#;

const SPIN: &str = r#"(module (memory 1)
    (global $count (mut i32) (i32.const 0))
    (func (export "spin") (loop $l (br $l)))
    (func (export "nothing")))"#;

/// Suspends a program that is known to be running or waiting.
async fn suspend(process: &mut Process, host: &mut TestHost) {
    let outcome = process.serve_until(host, tokio::time::sleep(Duration::from_millis(10))).await.unwrap();
    assert_eq!(outcome.trap, TrapId::Suspended);
}

async fn resume(executor: &Executor, instance: &mut Instance) -> Process {
    let mut process = executor.new_process().await.unwrap();
    process.start(&instance.program().clone(), instance, ProcessPolicy::default()).unwrap();
    process
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_stops_change_nothing() {
    let executor = executor().await;
    let program = compile(PROGRAMS);
    for (name, n) in [("loop", 60_000_000), ("recursion", 3_000), ("indirect", 20_000_000), ("memory", 12)] {
        let mut instance = instantiate(&program);
        let undisturbed = crate::machine::call(&executor, &mut instance, name, &[I64(n)]).await;
        let mut instance = instantiate(&program);
        instance.set_entry(name, &[I64(n)]).unwrap();
        let mut host = TestHost::default();
        let stops = Stops { most: 150, delays: 0..700 };
        let (outcome, count) = run_with_stops(&executor, &mut instance, &mut host, stops).await;
        assert_eq!(outcome.trap, TrapId::Exit, "{name}: {outcome}");
        assert_eq!(instance.results().unwrap(), undisturbed, "{name}");
        println!("{name}: {count} stops");
        assert!(count >= 5, "{name}: only {count} stops");
        let resumed: Vec<_> = host.starts.iter().map(|start| start.resumed).collect();
        assert!(!resumed[0] && resumed[1..].iter().all(|&resumed| resumed));
        assert!(host.starts.is_sorted_by_key(|start| start.monotonic_time));
    }
    executor.close().await;
}

/// A loop, called where nearly nothing is left of the stack.
const BRINK: &str = r#"(module
    (func $spin (param $n i32)
        (loop $l (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func $down (export "down") (param $depth i32) (param $n i32) (result i32)
        (if (result i32) (local.get $depth)
            (then (i32.add (i32.const 1)
                (call $down (i32.sub (local.get $depth) (i32.const 1)) (local.get $n))))
            (else (call $spin (local.get $n)) (i32.const 0)))))"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stops_need_no_stack_that_the_program_has_not() {
    let executor = executor().await;
    let program = compile(BRINK);
    // As deep as it can be.
    let (mut good, mut bad) = (1, 1 << 20);
    while bad - good > 1 {
        let depth = (good + bad) / 2;
        let outcome =
            run(&executor, &mut instantiate(&program), "down", &[I32(depth), I32(1)]).await.unwrap();
        match outcome.trap {
            TrapId::Exit => good = depth,
            trap => {
                assert_eq!(trap, TrapId::CallStackExhausted);
                bad = depth;
            }
        }
    }
    for depth in [good - 2, good - 1, good] {
        let mut instance = instantiate(&program);
        instance.set_entry("down", &[I32(depth), I32(100_000_000)]).unwrap();
        let stops = Stops { most: 20, delays: 0..1500 };
        let mut host = TestHost::default();
        let (outcome, count) = run_with_stops(&executor, &mut instance, &mut host, stops).await;
        assert_eq!(outcome.trap, TrapId::Exit, "depth {depth} of {good}, {count} stops: {outcome}");
        assert_eq!(instance.results().unwrap(), [I32(depth)]);
        assert!(count >= 3, "only {count} stops");
    }
    executor.close().await;
}

#[tokio::test]
async fn a_fill_of_a_gibibyte_stops_at_once() {
    let executor = executor().await;
    let program = compile(
        r#"(module (memory 16384)
            (func (export "fill") (memory.fill (i32.const 0) (i32.const 0) (i32.const 0x40000000))
                (i32.store (i32.const 0x3ffffffc) (i32.const 7))))"#,
    );
    let mut instance = instantiate(&program);
    let mut process = start(&executor, &mut instance, "fill", &[]).await;
    let requested = Instant::now();
    let outcome =
        process.serve_until(&mut NoHostFunctions, tokio::time::sleep(Duration::from_millis(5))).await;
    assert_eq!(outcome.unwrap().trap, TrapId::Suspended);
    let waited = requested.elapsed();
    assert!(waited < Duration::from_millis(200), "{waited:?}");
    let mut word = [0; 4];
    instance.memory(0).unwrap().read(0x3fff_fffc, &mut word).unwrap();
    assert_eq!(word, [0; 4]);
    executor.close().await;
}

#[tokio::test]
async fn start_functions_stop_and_run_once() {
    let executor = executor().await;
    let program = compile(
        r#"(module
            (import "test" "add" (func $add (param i32 i32) (result i32)))
            (import "test" "stuck" (func $stuck))
            (global $starts (mut i32) (i32.const 0))
            (func $start
                (global.set $starts (call $add (global.get $starts) (i32.const 1)))
                (call $stuck)
                (global.set $starts (call $add (global.get $starts) (i32.const 10))))
            (start $start)
            (func (export "starts") (result i32) (global.get $starts)))"#,
    );
    let mut instance = instantiate(&program);
    let mut host = TestHost::default();
    let mut process = start(&executor, &mut instance, "starts", &[]).await;
    suspend(&mut process, &mut host).await;
    for _ in 0..3 {
        let mut process = resume(&executor, &mut instance).await;
        suspend(&mut process, &mut host).await;
    }
    host.stuck = false;
    let outcome = resume(&executor, &mut instance).await.serve(&mut host).await.unwrap();
    assert_eq!(outcome.result.value(), 11);
    assert_eq!(instance.results().unwrap(), [I32(11)]);
    executor.close().await;
}

#[tokio::test]
async fn a_request_before_the_start_leaves_the_instance_as_it_is() {
    let executor = executor().await;
    let program = compile(
        r#"(module (global $n (mut i32) (i32.const 0))
            (func $start (global.set $n (i32.add (global.get $n) (i32.const 1))))
            (start $start)
            (func (export "n") (result i32) (global.get $n)))"#,
    );
    let mut instance = instantiate(&program);
    instance.set_entry("n", &[]).unwrap();
    for delay in [0, 10] {
        let mut process = executor.new_process().await.unwrap();
        process.suspend();
        tokio::time::sleep(Duration::from_millis(delay)).await;
        process.start(&program, &mut instance, ProcessPolicy::default()).unwrap();
        let error = process.start(&program, &mut instance, ProcessPolicy::default()).unwrap_err();
        assert!(matches!(error, ProcessError::Order(_)));
        assert_eq!(process.serve(&mut NoHostFunctions).await.unwrap().trap, TrapId::Suspended);
        assert!(matches!(process.serve(&mut NoHostFunctions).await, Err(ProcessError::Order(_))));
        assert_eq!(instance.exit().unwrap(), Exit::None);
        process.close().await;
    }
    let mut process = resume(&executor, &mut instance).await;
    assert_eq!(process.serve(&mut NoHostFunctions).await.unwrap().result.value(), 1);
    executor.close().await;
}

#[tokio::test]
async fn a_request_right_after_the_start_is_not_lost() {
    let executor = executor().await;
    let program = compile(PROGRAMS);
    let mut instance = instantiate(&program);
    let mut process = start(&executor, &mut instance, "loop", &[I64(50_000_000)]).await;
    process.suspend();
    assert_eq!(process.serve(&mut NoHostFunctions).await.unwrap().trap, TrapId::Suspended);
    for _ in 0..20 {
        // What was frozen goes on, and stops where it stands.
        let mut process = resume(&executor, &mut instance).await;
        process.suspend();
        assert_eq!(process.serve(&mut NoHostFunctions).await.unwrap().trap, TrapId::Suspended);
    }
    let mut process = resume(&executor, &mut instance).await;
    assert_eq!(process.serve(&mut NoHostFunctions).await.unwrap().trap, TrapId::Exit);
    let results = instance.results().unwrap();
    let mut other = instantiate(&program);
    assert_eq!(results, crate::machine::call(&executor, &mut other, "loop", &[I64(50_000_000)]).await);
    executor.close().await;
}

#[tokio::test]
async fn a_request_after_the_end_is_too_late() {
    let executor = executor().await;
    let program = compile(SPIN);
    let mut instance = instantiate(&program);
    let mut process = start(&executor, &mut instance, "nothing", &[]).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    process.suspend();
    assert_eq!(process.serve(&mut NoHostFunctions).await.unwrap().trap, TrapId::Exit);
    process.suspend();
    let killer = process.killer();
    process.close().await;
    killer.suspend();
    assert_eq!(instance.exit().unwrap(), Exit::Returned);
    executor.close().await;
}

#[tokio::test]
async fn a_suspended_instance_does_nothing_else() {
    let executor = executor().await;
    let program = compile(SPIN);
    let mut instance = instantiate(&program);
    let mut process = start(&executor, &mut instance, "spin", &[]).await;
    suspend(&mut process, &mut TestHost::default()).await;
    let error = instance.set_entry("nothing", &[]).unwrap_err();
    assert!(matches!(error, InstanceError::Program(ProgramError::Suspended)), "{error}");
    assert_eq!(instance.exit().unwrap(), Exit::Frozen);
    assert_eq!(instance.results().unwrap(), []);
    executor.close().await;
}

#[tokio::test]
async fn the_monotonic_clock_stands_still_meanwhile() {
    let executor = executor().await;
    let program = compile(
        r#"(module
            (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
            (memory 1)
            (func $now (result i64)
                (drop (call $time (i32.const 1) (i64.const 0) (i32.const 0)))
                (i64.load (i32.const 0)))
            (func (export "wait") (param $until i64) (result i64)
                (loop $again (br_if $again (i64.lt_u (call $now) (local.get $until))))
                (call $now)))"#,
    );
    let mut instance = instantiate(&program);
    const UNTIL: i64 = 200_000_000;
    let mut process = start(&executor, &mut instance, "wait", &[I64(UNTIL)]).await;
    let cancelled = tokio::time::sleep(Duration::from_millis(50));
    let outcome = process.serve_until(&mut NoHostFunctions, cancelled).await.unwrap();
    assert_eq!(outcome.trap, TrapId::Suspended);
    let stood = instance.monotonic_time();
    assert!((40_000_000..200_000_000).contains(&stood), "{stood}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(instance.monotonic_time(), stood);
    let start = Instant::now();
    let mut host = TestHost::default();
    let mut process = resume(&executor, &mut instance).await;
    assert_eq!(process.serve(&mut host).await.unwrap().trap, TrapId::Exit);
    let rest = start.elapsed();
    assert!(rest >= Duration::from_nanos(UNTIL as u64 - stood - 5_000_000), "{rest:?} after {stood}");
    let [I64(shown)] = instance.results().unwrap()[..] else { panic!("no result") };
    assert!((UNTIL..UNTIL + 200_000_000).contains(&shown), "{shown}");
    assert!(host.starts[0].resumed && host.starts[0].monotonic_time >= stood);
    assert!(host.starts[0].monotonic_time < stood + 200_000_000);
    executor.close().await;
}

#[tokio::test]
async fn what_does_not_stop_is_killed_and_told() {
    let executor = executor().await;
    let program = Program::new(Text::new().spin().module()).unwrap();
    let policy = ProcessPolicy { suspend_allowance: Duration::from_millis(60), ..ProcessPolicy::default() };
    for serve_late in [false, true] {
        let mut instance = Instance::new(&program, &InstanceOptions::default()).unwrap();
        instance.set_entry("entry", &[]).unwrap();
        let mut process = executor.new_process().await.unwrap();
        process.start(&program, &mut instance, policy).unwrap();
        let requested = Instant::now();
        process.suspend();
        if serve_late {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let error = process.serve(&mut NoHostFunctions).await.unwrap_err();
        assert!(matches!(error, ProcessError::Unstoppable), "{error}");
        assert_eq!(error.trap(), TrapId::InternalError);
        assert!(requested.elapsed() >= Duration::from_millis(60));
        assert_eq!(instance.exit().unwrap(), Exit::None);
        // Killing it in time is something else.
        let mut instance = Instance::new(&program, &InstanceOptions::default()).unwrap();
        instance.set_entry("entry", &[]).unwrap();
        let mut process = executor.new_process().await.unwrap();
        process.start(&program, &mut instance, policy).unwrap();
        process.suspend();
        process.kill();
        assert_eq!(process.serve(&mut NoHostFunctions).await.unwrap().trap, TrapId::Killed);
    }
    executor.close().await;
}

#[tokio::test]
async fn a_trap_after_a_stop_is_the_same_trap() {
    let executor = executor().await;
    let program = compile(
        r#"(module
            (import "test" "stuck" (func $stuck))
            (memory 1)
            (func $inner (call $stuck) (drop (i32.load (i32.const -1))))
            (func (export "outer") (call $inner)))"#,
    );
    let mut instance = instantiate(&program);
    let mut process = start(&executor, &mut instance, "outer", &[]).await;
    let mut host = TestHost::default();
    suspend(&mut process, &mut host).await;
    assert_eq!(host.calls, 1);
    host.stuck = false;
    let outcome = resume(&executor, &mut instance).await.serve(&mut host).await.unwrap();
    assert_eq!(outcome.trap, TrapId::MemoryAccessOutOfBounds);
    let frames = instance.backtrace().unwrap();
    let functions: Vec<_> = frames.frames().iter().map(|frame| frame.function).collect();
    assert_eq!(functions, [1, 2]);
    executor.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storms_of_stops_and_kills_are_told_correctly() {
    let executor = executor().await;
    let program = compile(PROGRAMS);
    let mut instance = instantiate(&program);
    let n = 3_000_000;
    let expected = crate::machine::call(&executor, &mut instance, "loop", &[I64(n)]).await;
    let mut ends = [0; 3];
    for round in 0..60 {
        let mut instance = instantiate(&program);
        instance.set_entry("loop", &[I64(n)]).unwrap();
        loop {
            let mut process = resume(&executor, &mut instance).await;
            let tasks: Vec<_> = (0..3)
                .map(|task| {
                    let killer = process.killer();
                    let delay = Duration::from_micros(rand::random_range(0..600));
                    tokio::spawn(async move {
                        tokio::time::sleep(delay).await;
                        for _ in 0..3 {
                            match task {
                                0 if round % 3 == 0 => killer.kill(),
                                _ => killer.suspend(),
                            }
                        }
                    })
                })
                .collect();
            let outcome = process.serve(&mut NoHostFunctions).await.unwrap();
            match outcome.trap {
                TrapId::Suspended => {
                    ends[0] += 1;
                    assert_eq!(instance.exit().unwrap(), Exit::Frozen);
                }
                TrapId::Killed => ends[1] += 1,
                _ => {
                    ends[2] += 1;
                    assert_eq!(outcome.trap, TrapId::Exit);
                    assert_eq!(instance.results().unwrap(), expected);
                }
            }
            for task in tasks {
                task.await.unwrap();
            }
            process.close().await;
            // Killed before it went on, a frozen program is as it was.
            if outcome.trap != TrapId::Suspended && instance.exit().unwrap() != Exit::Frozen {
                break;
            }
        }
    }
    println!("{} suspended, {} killed, {} exited", ends[0], ends[1], ends[2]);
    assert!(ends.iter().all(|&count| count > 0));
    executor.close().await;
}
