//! Programs that exchange packets with services: which ones do, and what is attached to their `origin`.

use crate::exit::Problem;
use crate::output::report;
use anyhow::{Context, anyhow};
use futures_util::future::join_all;
use gate_compiler::ModuleInfo;
use gate_service::builtin::{
    Connection, Connector, HttpLimits, Kv, KvLimits, KvNamespace, Localhost, Origin, Peer, PeerHub, Reattach,
};
use gate_service::{RegisterError, Registry};
use gate_service_grpc::{Address, GrpcOptions, GrpcService};
use gate_wasi::HostStream;
use gate_wire::gate;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpListener;

/// How long no more connections are accepted when that fails, for want of descriptors for example.
const PAUSE: Duration = Duration::from_millis(100);

/// What is attached to a program's `origin`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// There is no such service.
    #[default]
    None,
    /// One connection, with the command's standard input and output.
    Stdio,
    /// Each connection to an address.
    Listen(SocketAddr),
}

/// A service that is not always there.
#[derive(Clone, Debug)]
pub(crate) enum Offer {
    /// Keys and values in this file.
    Kv(PathBuf),
    /// HTTP requests to an origin.
    Localhost { name: String, url: String },
    /// Streams between the programs of a group.
    Peer(String),
    /// What another process offers.
    Grpc { name: String, address: Box<Address> },
}

/// Such services, ready for use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offered {
    kv: Option<Kv>,
    localhost: Option<Localhost>,
    /// With the group's name.
    peer: Option<(PeerHub, String)>,
    pub(crate) external: Vec<GrpcService>,
}

impl Offered {
    /// Prepares services. Those in other processes are waited for, but not for long: they can come later.
    pub(crate) async fn open(offers: &[Offer]) -> Result<Self, Problem> {
        let mut offered = Self::default();
        let mut origins = Vec::new();
        for offer in offers {
            match offer {
                Offer::Kv(file) => {
                    if offered.kv.is_some() {
                        return Err(Problem::cannot_run(anyhow!("the service kv is given twice")));
                    }
                    // Whoever is given the file sees the same keys.
                    let namespace = KvNamespace::Shared(String::new());
                    let kv = Kv::open(file, namespace, KvLimits::default()).await;
                    let about = || format!("service kv in {}", file.display());
                    offered.kv = Some(kv.with_context(about).map_err(Problem::gate_failed)?);
                }
                Offer::Localhost { name, url } => origins.push((name.as_str(), url.as_str())),
                Offer::Peer(group) => {
                    if offered.peer.is_some() {
                        return Err(Problem::usage(anyhow!("the service peer is given twice")));
                    }
                    offered.peer = Some((PeerHub::new(), group.clone()));
                }
                Offer::Grpc { name, address } => {
                    offered.external.push(GrpcService::new(
                        name,
                        Address::clone(address),
                        GrpcOptions::default(),
                    ));
                }
            }
        }
        if !origins.is_empty() {
            let localhost = Localhost::new(origins, HttpLimits::default()).context("service localhost");
            offered.localhost = Some(localhost.map_err(Problem::cannot_run)?);
        }
        // A name that nobody can use, or that is taken, is found now.
        let mut registry = Registry::default();
        registry.register_common().and_then(|()| offered.register(&mut registry)).map_err(Problem::usage)?;
        // Why one is not available has been logged.
        join_all(offered.external.iter().map(GrpcService::settle)).await;
        Ok(offered)
    }

    /// Like [`Offered::open`], for a program that has no others beside it.
    pub(crate) async fn open_for_one(offers: &[Offer]) -> Result<Self, Problem> {
        if offers.iter().any(|offer| matches!(offer, Offer::Peer(_))) {
            let what = "the service peer is for `gate fork`: programs find each other within one command";
            return Err(Problem::usage(anyhow!(what)));
        }
        Self::open(offers).await
    }

    pub(crate) fn register(&self, registry: &mut Registry) -> Result<(), RegisterError> {
        if let Some(kv) = &self.kv {
            registry.register(kv.clone())?;
        }
        if let Some(localhost) = &self.localhost {
            registry.register(localhost.clone())?;
        }
        if let Some((hub, _)) = &self.peer {
            registry.register(Peer::new(hub))?;
        }
        self.external.iter().try_for_each(|service| registry.register(service.clone()))
    }
}

/// Whether a module imports functions for packets.
pub(crate) fn are_used(info: &ModuleInfo) -> bool {
    info.imports.iter().any(|(module, name)| {
        module == gate::MODULE
            || module == gate::C_MODULE && (name.starts_with("__gate_") || name.starts_with("rt_"))
    })
}

/// The services of a program, which may be one of several copies.
pub(crate) fn registry(place: Place, offered: &Offered, copy: Option<u32>) -> anyhow::Result<Registry> {
    let mut registry = Registry::new(gate_service::Context {
        instance: Some(new_id()?),
        group: offered.peer.as_ref().map(|(_, group)| group.clone()),
        name: copy.map(|number| number.to_string()),
        ..Default::default()
    });
    registry.register_common()?;
    offered.register(&mut registry)?;
    attach(&mut registry, place)?;
    Ok(registry)
}

/// A random UUID (version 4 of RFC 9562).
fn new_id() -> io::Result<[u8; 16]> {
    let mut id = [0; 16];
    // So few bytes come all at once.
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    Ok(id)
}

fn attach(registry: &mut Registry, place: Place) -> anyhow::Result<()> {
    let mut register = |reattach| -> Result<Connector, RegisterError> {
        let (origin, connector) = Origin::new(reattach);
        registry.register(origin)?;
        Ok(connector)
    };
    match place {
        Place::None => {}
        Place::Stdio => {
            let connector = register(Reattach::Next)?;
            let stdin = io::stdin().as_fd().try_clone_to_owned().and_then(HostStream::input);
            let stdout = io::stdout().as_fd().try_clone_to_owned().and_then(HostStream::output);
            let connection = Connection::new(
                stdin.context("attach standard input")?,
                stdout.context("attach standard output")?,
            );
            tokio::spawn(async move { connector.connect(connection).await });
        }
        Place::Listen(addr) => {
            let connector = register(Reattach::End)?;
            let listener = std::net::TcpListener::bind(addr)
                .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
                .and_then(TcpListener::from_std)
                .with_context(|| format!("listen on {addr}"))?;
            let addr = listener.local_addr().with_context(|| format!("listen on {addr}"))?;
            report(format_args!("origin listens on {addr}"));
            tokio::spawn(accept(listener, connector));
        }
    }
    Ok(())
}

/// Accepts connections until the program is gone.
async fn accept(listener: TcpListener, connector: Connector) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tracing::debug!(%peer, "connected to origin");
                // Small packets are answers that somebody waits for.
                let _ = stream.set_nodelay(true);
                let (reader, writer) = stream.into_split();
                if connector.connect(Connection::new(reader, writer)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!("accept a connection to origin: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gate_compiler::{GateImports, Options};

    #[test]
    fn imports_tell_who_uses_packets() {
        for (module, name, used) in [
            ("gate", "io_65536", true),
            ("env", "__gate_fd_65536", true),
            ("env", "rt_read8", true),
            ("env", "__wasi_fd_write", false),
            ("wasi_snapshot_preview1", "fd_read", false),
        ] {
            let params = if name.starts_with("io") { "(param i32 i32 i32 i32 i32 i32 i64 i32)" } else { "" };
            let ty = match name {
                "__gate_fd_65536" => "(result i32)",
                "rt_read8" => "(result i64)",
                "fd_read" | "__wasi_fd_write" => "(param i32 i32 i32 i32) (result i32)",
                _ => params,
            };
            let wasm = wat::parse_str(format!("(module (import {module:?} {name:?} (func {ty})))")).unwrap();
            let module = gate_compiler::compile(&wasm, &Options::default(), &GateImports).unwrap();
            assert_eq!(are_used(&module.info), used, "{name}");
        }
    }
}
