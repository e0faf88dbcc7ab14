//! Programs of hand-written machine code, which do what compiled code never does.

use crate::machine::executor;
use crate::text::Text;
use gate_image::{Exit, Instance, InstanceOptions, Program};
use gate_runtime::{AbnormalExit, Executor, NoHostFunctions, Outcome, ProcessError, ProcessPolicy, TrapId};
use gate_wire::context::ExitKind;
use gate_wire::context_offset;

async fn run(executor: &Executor, text: Text) -> (Instance, Result<Outcome, ProcessError>) {
    let program = Program::new(text.module()).unwrap();
    let mut instance = Instance::new(&program, &InstanceOptions::default()).unwrap();
    instance.set_entry("entry", &[]).unwrap();
    let mut process = executor.new_process().await.unwrap();
    process.start(&program, &mut instance, ProcessPolicy::default()).unwrap();
    let outcome = process.serve(&mut NoHostFunctions).await;
    (instance, outcome)
}

#[tokio::test]
async fn returning_is_success() {
    let executor = executor().await;
    let (instance, outcome) = run(&executor, Text::new().ret()).await;
    assert_eq!(outcome.unwrap().to_string(), "halted: success");
    assert_eq!(instance.exit().unwrap(), Exit::Returned);
    executor.close().await;
}

#[tokio::test]
async fn nonsense_in_the_exit_record_is_an_error() {
    let executor = executor().await;
    let record = context_offset!(exit);
    for (kind, value) in [
        (77, 0),
        (u32::MAX, u32::MAX),
        (ExitKind::Trapped as u32, 17),
        (ExitKind::Trapped as u32, u32::MAX),
        (ExitKind::Trapped as u32, TrapId::Exit as u32),
        (ExitKind::Trapped as u32, TrapId::Killed as u32),
        (ExitKind::Faulted as u32, 11),
        (ExitKind::Faulted as u32, 4),
    ] {
        let text = Text::new().store(record, kind).store(record + 4, value).exit_group(0);
        let (instance, outcome) = run(&executor, text).await;
        let error = outcome.unwrap_err();
        assert!(matches!(error, ProcessError::Unexplained(_)), "{kind} {value}: {error}");
        assert_eq!(error.trap(), TrapId::InternalError);
        assert!(instance.exit().is_err());
        instance.backtrace().unwrap();
    }
    executor.close().await;
}

#[tokio::test]
async fn odd_frame_pointers_end_the_backtrace() {
    let executor = executor().await;
    let record = context_offset!(exit);
    for fp in [0, 1, 0x1000, 0x7fff_ffff] {
        let text = Text::new()
            .store(record, ExitKind::Trapped as u32)
            .store(record + 4, TrapId::Unreachable as u32)
            .store(record + 16, fp)
            .exit_group(0);
        let (instance, outcome) = run(&executor, text).await;
        assert_eq!(outcome.unwrap().trap, TrapId::Unreachable);
        assert!(instance.backtrace().unwrap().frames().is_empty());
    }
    executor.close().await;
}

#[tokio::test]
async fn exiting_without_a_word_is_an_error() {
    let executor = executor().await;
    let (_, outcome) = run(&executor, Text::new().exit_group(5)).await;
    assert!(matches!(outcome, Err(ProcessError::Abnormal(AbnormalExit::Code(5)))), "{outcome:?}");
    executor.close().await;
}

#[tokio::test]
async fn a_forbidden_system_call_is_told() {
    let executor = executor().await;
    let (_, outcome) = run(&executor, Text::new().syscall(libc::SYS_getpid, [0; 3]).exit_group(0)).await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, ProcessError::Abnormal(AbnormalExit::ForbiddenSystemCall)), "{error}");
    executor.close().await;
}

#[tokio::test]
async fn malformed_requests_violate_the_abi() {
    let executor = executor().await;
    // Of its memory, which is all zeros: too short, too long, much too long.
    for size in [1, 103, 105, 4096] {
        let text = Text::new().send(size).spin();
        let (_, outcome) = run(&executor, text).await;
        assert_eq!(outcome.unwrap().trap, TrapId::AbiViolation, "{size}");
    }
    executor.close().await;
}

#[tokio::test]
async fn requests_without_waiting_for_replies_do_not_hurt() {
    let executor = executor().await;
    let mut text = Text::new();
    for size in (0..200).flat_map(|_| [104, 0]) {
        text = text.send(size);
    }
    let (_, outcome) = run(&executor, text.ret()).await;
    // Whether it returned or was stopped before that depends on who was quicker.
    assert!(matches!(outcome.unwrap().trap, TrapId::Exit | TrapId::AbiViolation));
    executor.close().await;
}

#[tokio::test]
async fn a_claimed_memory_size_is_bounded() {
    let executor = executor().await;
    let desc = Text::MEMORY_DESC;
    let text = Text::new().store(desc, u32::MAX).store(desc + 4, u32::MAX).ret();
    let (instance, outcome) = run(&executor, text).await;
    assert_eq!(outcome.unwrap().trap, TrapId::Exit);
    let memory = instance.memory(0).unwrap();
    assert_eq!(memory.size().unwrap(), 2 * 65536);
    assert!(memory.read(2 * 65536, &mut [0]).is_err());

    let text = Text::new().store(desc, 0).ret();
    let (instance, _) = run(&executor, text).await;
    assert_eq!(instance.memory(0).unwrap().size().unwrap(), 65536);
    executor.close().await;
}

/// Whatever is in the context, the host reads what it can, and says what it cannot.
#[tokio::test]
async fn an_overwritten_context_is_read_with_care() {
    let executor = executor().await;
    let size = size_of::<gate_wire::context::Context>() as i32;
    let kinds = [
        ExitKind::None,
        ExitKind::Returned,
        ExitKind::Terminated,
        ExitKind::Trapped,
        ExitKind::Faulted,
        ExitKind::Frozen,
    ];
    for kind in kinds {
        for value in [0, 1, 7, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            let mut text = Text::new();
            // The memory's descriptor is below.
            for offset in (-size - 16..0).step_by(4) {
                text = text.store(offset, value);
            }
            let text = text.store(context_offset!(exit.kind), kind as u32).exit_group(0);
            let (mut instance, outcome) = run(&executor, text).await;
            // It is one or the other, but not a panic, and it takes no time.
            let _ = (outcome.map(|outcome| outcome.to_string()), instance.exit(), instance.results());
            let inspector = gate_image::Inspector::new(&instance, &[]);
            let _ = (inspector.globals(), inspector.tables(), inspector.memories(), inspector.trace());
            let _ = instance.backtrace();
            if let Some(memory) = instance.memory(0) {
                assert!(memory.size().unwrap() <= 2 * 65536);
            }
            let exported = executor.export(&mut instance).await;
            assert!(exported.is_err(), "{kind:?}, {value}: there are no such frames");
            let _ = instance.fork().map(|fork| fork.results());
        }
    }
    // The executor has not suffered.
    let (_, outcome) = run(&executor, Text::new().ret()).await;
    assert_eq!(outcome.unwrap().trap, TrapId::Exit);
    executor.close().await;
}
