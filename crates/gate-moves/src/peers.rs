//! The same in other engines.

mod wasi;
mod wasmi;
#[cfg(feature = "wasmtime")]
mod wasmtime;

use crate::account::Account;
use crate::subject::Subject;
use wasmparser::{Validator, WasmFeatures};

/// What all of them know.
const COMMON: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::MEMORY64);

/// Another engine.
trait Peer {
    fn name(&self) -> &'static str;

    /// What it knows of WebAssembly. Other programs are not run in it.
    fn features(&self) -> WasmFeatures;

    /// Runs a program.
    ///
    /// # Errors
    ///
    /// The engine does not accept the program.
    fn run(&self, subject: &Subject) -> anyhow::Result<Account>;
}

/// All other engines.
pub(crate) struct Peers {
    peers: Vec<Box<dyn Peer>>,
}

impl Peers {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let peers: Vec<Box<dyn Peer>> = vec![
            Box::new(wasmi::Wasmi::new()),
            #[cfg(feature = "wasmtime")]
            Box::new(wasmtime::Wasmtime::new()?),
        ];
        Ok(Self { peers })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.peers.iter().map(|peer| peer.name())
    }

    /// In what a program's end differs from that in other engines that have all features which it uses.
    pub(crate) fn differences(&self, subject: &Subject, account: &Account) -> Vec<String> {
        if subject.incomparable {
            return Vec::new();
        }
        let knows = |peer: &dyn Peer| {
            Validator::new_with_features(peer.features()).validate_all(&subject.wasm).is_ok()
        };
        let difference = |peer: &dyn Peer| match peer.run(subject) {
            Ok(theirs) => account.difference(&theirs),
            Err(error) => Some(format!("{:?} instead of an error: {error:#}", account.end)),
        };
        let all = self.peers.iter().filter(|peer| knows(&***peer)).filter_map(|peer| {
            difference(&**peer).map(|difference| format!("from {}: {difference}", peer.name()))
        });
        all.collect()
    }
}
