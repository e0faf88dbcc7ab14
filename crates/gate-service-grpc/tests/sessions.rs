//! Sessions with servers, good ones and bad ones, as the packet loop sees them.

mod machine;

use gate_runtime::{InstanceServer, ServiceConfig, ServiceRegistry};
use gate_service::Domain;
use gate_service_grpc::proto;
use machine::{Behaviour, Machine, Program, READY, REFUSE, flow, reply, suspended};
use proto::host_message::Kind;
use proto::service_message::Kind as ServiceKind;

/// Answers calls with what they say, and keeps the last one as its state.
fn echo() -> Behaviour {
    let mut last = Vec::new();
    Behaviour::new(move |kind| match kind {
        Kind::Start(start) => match start.state_size {
            None => vec![READY],
            Some(_) => vec![],
        },
        Kind::State(state) => {
            last = state.bytes.to_vec();
            vec![READY]
        }
        Kind::Call(call) => {
            let before = std::mem::replace(&mut last, call.content.to_vec());
            vec![reply(call.number, &[&before[..], b">", &call.content].concat())]
        }
        Kind::Suspend(_) => suspended(&last),
        _ => vec![],
    })
}

#[tokio::test]
async fn calls_are_answered_and_the_state_goes_along() {
    let machine = Machine::start(echo);
    let mut program = Program::new(&machine).await;
    assert_eq!(program.call(b"one").await, b">one");
    assert_eq!(program.call(b"two").await, b"one>two");
    let saved = program.suspend().await;
    drop(program);
    let mut program = Program::restored(&machine, &saved).await;
    assert_eq!(program.call(b"three").await, b"two>three");
    // In place, too.
    let saved = program.suspend().await;
    assert_eq!(program.server.save(), saved);
    assert_eq!(program.call(b"four").await, b"three>four");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_found_when_it_comes() {
    let mut machine = Machine::nowhere();
    let mut program = Program::new(&machine).await;
    assert!(!program.is_available());
    assert_eq!(program.call(b"one").await, b"");
    machine.listen(echo);
    program.wait_available(true).await;
    assert_eq!(program.call(b"two").await, b">two");
    // It dies, and another one comes.
    machine.kill();
    program.wait_available(false).await;
    assert_eq!(program.call(b"three").await, b"");
    machine.listen(echo);
    program.wait_available(true).await;
    assert_eq!(program.call(b"four").await, b">four");
}

#[tokio::test]
async fn a_state_waits_for_the_server() {
    let mut machine = Machine::start(echo);
    let mut program = Program::new(&machine).await;
    assert_eq!(program.call(b"one").await, b">one");
    let saved = program.suspend().await;
    drop(program);
    machine.kill();
    let mut program = Program::restored(&machine, &saved).await;
    assert!(!program.is_available());
    // Suspended again before that.
    assert_eq!(program.suspend().await, saved);
    // Calls wait, too.
    program.send_call(b"two");
    assert!(program.waits().await);
    machine.listen(echo);
    assert_eq!(program.receive(Domain::Call).await, b"one>two");
    assert!(program.is_available());
}

/// What servers do that they must not do, on a call.
#[tokio::test]
async fn garbage_is_a_lost_session_and_nothing_more() {
    let data = |stream, size| ServiceKind::Data(proto::Data { stream, bytes: vec![0; size].into() });
    let opens = |opens| ServiceKind::Info(proto::Info { content: Vec::new().into(), opens });
    let open = |stream| opens(vec![stream]);
    let cases: Vec<Vec<ServiceKind>> = vec![
        vec![reply(7, b"")],
        vec![reply(0, &[0; 65529])],
        vec![reply(0, b"a"), reply(0, b"b")],
        vec![READY],
        vec![ServiceKind::Info(proto::Info { content: vec![0; 65529].into(), opens: vec![] })],
        vec![open(-1)],
        vec![open(0), open(0)],
        vec![data(0, 1)],
        vec![open(0), data(0, (192 << 10) + 1)],
        vec![open(0), flow(0, u32::MAX)],
        vec![open(0), flow(0, i32::MAX as u32), flow(0, 1)],
        vec![ServiceKind::End(proto::End { stream: 3, cut: false })],
        vec![ServiceKind::Suspended(proto::Suspended { state_size: 0 })],
        vec![ServiceKind::State(proto::State { bytes: vec![1].into() })],
        vec![opens((0..257).collect())],
        // Too large to be decoded.
        vec![data(0, 1 << 20)],
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let answer = case.clone();
        let machine = Machine::start(move || {
            let mut answer = answer.clone();
            Behaviour::new(move |kind| match kind {
                Kind::Start(_) => vec![READY],
                Kind::Call(call) if &*call.content == b"bad" => std::mem::take(&mut answer),
                Kind::Call(call) => vec![reply(call.number, b"good")],
                _ => vec![],
            })
        });
        let mut other = Program::new(&machine).await;
        assert_eq!(other.call(b"x").await, b"good");
        let mut program = Program::new(&machine).await;
        let first = program.call(b"bad").await;
        // A reply may have come before the end.
        assert!(first.is_empty() || first == b"a", "case {number}: {first:?}");
        program.wait_available(false).await;
        program.wait_available(true).await;
        assert_eq!(program.call(b"x").await, b"good", "case {number}");
        assert_eq!(other.call(b"x").await, b"good", "case {number}");
        assert!(other.changes == 0, "case {number}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_keeps_only_its_own_waiting() {
    // Never says that it is ready.
    let machine = Machine::start(|| Behaviour::new(|_| vec![]));
    let mut program = Program::new(&machine).await;
    assert_eq!(program.call(b"x").await, b"");
    assert!(!program.is_available());
    drop(program);
    // Does not answer, and does not give its state.
    let machine = Machine::start(|| {
        Behaviour::new(|kind| if let Kind::Start(_) = kind { vec![READY] } else { vec![] })
    });
    let good = Machine::start(echo);
    let mut program = Program::new(&machine).await;
    program.send_call(b"x");
    assert!(program.waits().await);
    let mut other = Program::new(&good).await;
    assert_eq!(other.call(b"one").await, b">one");
    let saved = program.suspend().await;
    let mut program = Program::restored(&machine, &saved).await;
    // The call that was lost, with an empty reply.
    assert_eq!(program.receive(Domain::Call).await, b"");
}

#[tokio::test]
async fn a_state_that_is_refused_is_lost() {
    let refuse = || {
        Behaviour::new(|kind| match kind {
            Kind::Start(start) if start.state_size.is_some() => vec![REFUSE],
            Kind::Start(_) => vec![READY],
            Kind::Call(call) if &*call.content == b"hold" => vec![],
            Kind::Call(call) => vec![reply(call.number, b"new")],
            Kind::Suspend(_) => suspended(b"bad"),
            _ => vec![],
        })
    };
    let machine = Machine::start(refuse);
    let mut program = Program::new(&machine).await;
    program.send_call(b"hold");
    assert!(program.waits().await);
    let saved = program.suspend().await;
    drop(program);
    let mut program = Program::restored(&machine, &saved).await;
    assert_eq!(program.receive(Domain::Call).await, b"");
    program.wait_available(true).await;
    assert_eq!(program.call(b"x").await, b"new");
}

#[tokio::test]
async fn calls_and_streams_have_limits() {
    let machine = Machine::start(|| {
        Behaviour::new(|kind| match kind {
            Kind::Start(_) => vec![READY],
            Kind::Call(call) if &*call.content == b"open" => {
                let opens = proto::Reply { number: call.number, opens: vec![0], ..Default::default() };
                vec![ServiceKind::Reply(opens), flow(0, 1000)]
            }
            Kind::Suspend(_) => suspended(b""),
            _ => vec![],
        })
    });
    let mut program = Program::new(&machine).await;
    assert_eq!(program.call(b"open").await, b"");
    program.receive(Domain::Flow).await;
    // The server wants a thousand bytes, and Gate has room for some more. It is the program's fault to send more than that.
    program.send_data(0, &[0; 60_000]);
    for _ in 0..64 {
        assert!(program.poll_ready());
        program.send_call(b"hold");
    }
    assert!(!program.poll_ready());
    let size = program.suspend().await[0].state.len();
    assert!((59_000..61_000 + 64 * 100).contains(&size), "{size}");
}

#[tokio::test]
async fn states_from_anywhere_are_refused_or_used() {
    let machine = Machine::start(echo);
    let mut program = Program::new(&machine).await;
    assert_eq!(program.call(b"one").await, b">one");
    let saved = program.suspend().await;
    let (mut refused, mut used) = (0, 0);
    for at in 0..saved[0].state.len() {
        for cut in [false, true] {
            let mut saved = saved.clone();
            match cut {
                true => saved[0].state.truncate(at),
                false => saved[0].state[at] ^= 0xff,
            }
            match machine.registry().0.create_server(ServiceConfig::default(), &saved) {
                Ok(server) => {
                    server.save();
                    used += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 20 && used > 0, "{refused} {used}");
}
