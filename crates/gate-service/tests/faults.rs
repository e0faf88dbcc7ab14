//! A service that fails, hangs or panics affects its instance only.

use gate_runtime::{
    HostFunctions, InstanceServer, NoHostFunctions, PacketHost, ServiceConfig, ServiceRegistry, Start,
};
use gate_service::{
    Context, Domain, Packet, Registry, Restored, Server, Service, ServiceError, ServiceInstance,
};
use std::error::Error;
use std::future::poll_fn;
use std::task::{self, Poll, Waker};

/// When the service fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Discoverable,
    Create,
    Begin,
    Available,
    Ready,
    Handle,
    Packet,
    Suspend,
    Save,
    Finish,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Panics,
    Fails,
}

#[derive(Clone, Copy)]
struct Faulty(At, How);

impl Faulty {
    fn may_panic(&self, at: At) {
        if *self == Faulty(at, How::Panics) {
            panic!("as it was told");
        }
    }

    fn may_fail(&self, at: At) -> Result<(), ServiceError> {
        self.may_panic(at);
        match *self == Faulty(at, How::Fails) {
            true => Err(ServiceError::fault("as it was told")),
            false => Ok(()),
        }
    }
}

impl PartialEq for Faulty {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Service for Faulty {
    fn name(&self) -> &str {
        "faulty"
    }

    fn is_discoverable(&self, _: &Context) -> bool {
        self.may_panic(At::Discoverable);
        true
    }

    fn create(
        &self,
        _: &Registry,
        _: Restored<'_>,
    ) -> Result<Box<dyn ServiceInstance>, Box<dyn Error + Send + Sync>> {
        self.may_fail(At::Create)?;
        Ok(Box::new(FaultyInstance { faulty: *self, called: false, looked: false }))
    }
}

struct FaultyInstance {
    faulty: Faulty,
    called: bool,
    looked: bool,
}

impl ServiceInstance for FaultyInstance {
    fn begin(&mut self, _: &Start) {
        self.faulty.may_panic(At::Begin);
    }

    fn poll_available(&mut self, _: &mut task::Context<'_>) -> bool {
        if std::mem::replace(&mut self.looked, true) {
            self.faulty.may_panic(At::Available);
        }
        true
    }

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<()> {
        self.faulty.may_panic(At::Ready);
        Poll::Ready(())
    }

    fn handle(&mut self, _: Packet) -> Result<(), ServiceError> {
        self.called = true;
        self.faulty.may_fail(At::Handle)
    }

    fn poll_packet(&mut self, _: &mut task::Context<'_>) -> Poll<Result<Packet, ServiceError>> {
        self.faulty.may_fail(At::Packet)?;
        match std::mem::take(&mut self.called) {
            true => Poll::Ready(Ok(Packet::new(Domain::Call, b"fine".to_vec()))),
            false => Poll::Pending,
        }
    }

    fn poll_finish(&mut self, _: &mut task::Context<'_>) -> Poll<()> {
        self.faulty.may_panic(At::Finish);
        Poll::Ready(())
    }

    fn poll_suspend(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), ServiceError>> {
        Poll::Ready(self.faulty.may_fail(At::Suspend))
    }

    fn save(&self) -> Vec<u8> {
        self.faulty.may_panic(At::Save);
        vec![1]
    }
}

/// What a program of one instance goes through, down to the first error.
fn live(server: &mut Server) -> Result<(), ServiceError> {
    let cx = &mut task::Context::from_waker(Waker::noop());
    server.begin(&Start { resumed: false, monotonic_time: 0 });
    server.discover(&["faulty"])?;
    assert!(server.poll_ready(0, cx).is_ready());
    server.handle(0, Packet::new(Domain::Call, Vec::new()))?;
    let Poll::Ready(packet) = server.poll_packet(cx) else { panic!("no reply") };
    assert_eq!(packet?.1.content, b"fine");
    assert!(matches!(server.poll_packet(cx)?, Poll::Pending));
    let Poll::Ready(suspended) = server.poll_suspend(cx) else { panic!("not suspended") };
    suspended?;
    assert_eq!(server.save()[0].state, [1]);
    assert!(server.poll_finish(cx).is_ready());
    Ok(())
}

fn server(faulty: Faulty) -> Server {
    let mut registry = Registry::new(Context::default());
    registry.register(faulty).unwrap();
    registry.create_server(ServiceConfig::default(), &[]).unwrap()
}

#[test]
fn a_service_that_panics_or_fails_is_a_fault_of_its_instance() {
    use At::*;
    // A second one, of the same service, which goes on beside them.
    let mut good = server(Faulty(Never, How::Panics));
    live(&mut good).unwrap();
    for at in [Discoverable, Create, Begin, Available, Ready, Handle, Packet, Suspend, Save] {
        let error = live(&mut server(Faulty(at, How::Panics))).expect_err("a fault");
        assert!(matches!(error, ServiceError::Fault(_)), "{at:?}");
        let what = "service \"faulty\" has panicked: as it was told";
        assert!(error.to_string().contains(what), "{at:?}: {error}");
    }
    for at in [Create, Handle, Packet, Suspend] {
        let error = live(&mut server(Faulty(at, How::Fails))).expect_err("a fault");
        assert!(matches!(error, ServiceError::Fault(_)), "{at:?}");
        assert!(error.to_string().contains("as it was told"), "{at:?}: {error}");
    }
    // One that cannot finish has nothing more to do.
    live(&mut server(Faulty(Finish, How::Panics))).unwrap();
    let cx = &mut task::Context::from_waker(Waker::noop());
    good.handle(0, gate_service::Packet::new(Domain::Call, Vec::new())).unwrap();
    assert!(matches!(good.poll_packet(cx), Poll::Ready(Ok(_))));
}

#[test]
fn a_service_that_panics_when_it_begins_again_is_a_fault() {
    let mut server = server(Faulty(At::Never, How::Panics));
    live(&mut server).unwrap();
    let mut registry = Registry::new(Context::default());
    registry.register(Faulty(At::Begin, How::Panics)).unwrap();
    let mut restored = registry.create_server(ServiceConfig::default(), &server.save()).unwrap();
    restored.begin(&Start { resumed: true, monotonic_time: 0 });
    let cx = &mut task::Context::from_waker(Waker::noop());
    assert!(matches!(restored.poll_packet(cx), Poll::Ready(Err(ServiceError::Fault(_)))));
}

#[tokio::test]
async fn what_cannot_be_saved_is_told() {
    for (at, saved) in [(At::Save, false), (At::Suspend, false), (At::Never, true)] {
        let mut registry = Registry::new(Context::default());
        registry.register(Faulty(at, How::Panics)).unwrap();
        let mut host = PacketHost::new(registry, NoHostFunctions).unwrap();
        let discovery = b"\x11\0\0\0\xff\xff\0\0\x01\0\x06faulty\0\0\0\0\0\0\0";
        let bytes = host.bytes();
        assert_eq!(poll_fn(|cx| bytes.poll_write(cx, discovery)).await.unwrap(), discovery.len());
        assert_eq!(host.suspend().await.is_ok(), saved, "{at:?}");
    }
}
