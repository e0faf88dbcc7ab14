//! The built-in services, for targets which play a program that uses them.

use gate_service::builtin::{
    Connection, Connector, HttpLimits, Kv, KvLimits, KvNamespace, Localhost, Origin, Peer, PeerHub, Random,
    Reattach,
};
use gate_service::{Context, Registry};
use std::cell::OnceCell;
use std::path::Path;
use tokio::runtime::Runtime;

/// All of them.
pub const NAMES: [&str; 10] =
    ["catalog", "clock", "identity", "kv", "localhost", "logger", "origin", "peer", "random", "scope"];

thread_local! {
    static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
    static KV: OnceCell<Kv> = const { OnceCell::new() };
}

/// Runs something that needs a runtime, which is always the same.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| {
        let make = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.get_or_init(make).block_on(work)
    })
}

fn kv() -> Kv {
    KV.with(|kv| {
        let namespace = KvNamespace::Shared("fuzz".into());
        let limits = KvLimits { max_entries: 20, max_bytes: 1 << 20 };
        let make = || {
            // Not within the runtime that the caller is in.
            let open = move || {
                let runtime = Runtime::new().expect("a runtime");
                let kv =
                    runtime.block_on(Kv::open(Path::new(":memory:"), namespace, limits)).expect("a store");
                std::mem::forget(runtime);
                kv
            };
            std::thread::spawn(open).join().expect("a store")
        };
        kv.get_or_init(make).clone()
    })
}

/// What the services of one program have in common, wherever it is.
pub struct Services {
    hub: PeerHub,
    connectors: std::cell::RefCell<Vec<Connector>>,
}

impl Services {
    /// Those of a program that nobody knows yet.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self { hub: PeerHub::default(), connectors: Default::default() }
    }

    /// The services at one more place.
    pub fn registry(&self) -> Registry {
        let context = Context {
            principal: Some("someone".into()),
            instance: Some([7; 16]),
            group: Some("group".into()),
            name: Some("program".into()),
            ..Context::default()
        };
        let mut registry = Registry::new(context);
        registry.register_common().expect("common services");
        registry.shadow(Random::with_rate(1_000_000)).expect("random");
        registry.register(kv()).expect("kv");
        registry.register(Peer::new(&self.hub)).expect("peer");
        // Nobody is there.
        let localhost = Localhost::new([("there", "http://127.0.0.1:1")], HttpLimits::default());
        registry.register(localhost.expect("an origin")).expect("localhost");
        let (origin, connector) = Origin::new(Reattach::Next);
        for input in [&b"a few bytes"[..], &[b'x'; 100_000]] {
            let connection = Connection::new(input, tokio::io::sink());
            let mut connect = Box::pin(connector.connect(connection));
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(connect.as_mut().poll(&mut cx).is_ready());
        }
        self.connectors.borrow_mut().push(connector);
        registry.register(origin).expect("origin");
        registry
    }
}
