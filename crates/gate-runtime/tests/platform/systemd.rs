//! Scopes, of something that answers on the bus as systemd does: it makes a real control group.

use crate::groups::Playground;
use crate::machine::{executor, program, rerun, works};
use gate_runtime::{
    CgroupConfig, CgroupError, CgroupHierarchy, Config, ContainerCgroup, ContainerConfig, Executor,
    ExecutorError, ProcessGroup, SystemdScope,
};
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use zbus::object_server::SignalEmitter;
use zbus::zvariant::{ObjectPath, OwnedObjectPath, OwnedValue};

fn config(slice: &str) -> Config {
    let scope = SystemdScope { slice: Some(slice.into()), user: false };
    let cgroup = CgroupConfig { container: ContainerCgroup::SystemdScope(scope), process: None };
    Config { container: ContainerConfig { cgroup, ..Default::default() }, ..Default::default() }
}

/// A bus of the test's own, which ends with it.
struct Bus {
    daemon: Child,
    address: String,
}

impl Bus {
    fn start() -> Option<Self> {
        let mut command = Command::new("dbus-daemon");
        command.args(["--session", "--nofork", "--print-address", "--address=unix:tmpdir=/tmp"]);
        let mut daemon = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        let mut address = String::new();
        BufReader::new(daemon.stdout.take()?).read_line(&mut address).ok()?;
        Some(Self { daemon, address: address.trim().to_owned() }).filter(|bus| !bus.address.is_empty())
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

struct Manager {
    /// Path of the cgroup in which scopes are made.
    path: PathBuf,
}

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn subscribe(&self) {}

    async fn start_transient_unit(
        &self,
        name: String,
        mode: String,
        properties: Vec<(String, OwnedValue)>,
        _others: Vec<(String, Vec<(String, OwnedValue)>)>,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> zbus::fdo::Result<OwnedObjectPath> {
        assert_eq!(mode, "fail");
        let properties: HashMap<_, _> = properties.into_iter().collect();
        assert_eq!(bool::try_from(&properties["Delegate"]), Ok(true));
        let job =
            OwnedObjectPath::from(ObjectPath::from_static_str_unchecked("/org/freedesktop/systemd1/job/7"));
        let other = ObjectPath::from_static_str_unchecked("/org/freedesktop/systemd1/job/6");
        Self::job_removed(&emitter, 6, other, "other.scope", "failed").await?;
        let slice: &str = (&properties["Slice"]).try_into().unwrap();
        let result = if slice == "broken.slice" {
            "dependency"
        } else {
            let pids: Vec<u32> = properties["PIDs"].try_clone().unwrap().try_into().unwrap();
            let mount = CgroupHierarchy::detect().unwrap().mount_point().to_owned();
            let scope = mount.join(self.path.strip_prefix("/").unwrap()).join(&name);
            fs::create_dir(&scope).unwrap();
            fs::write(scope.join("cgroup.procs"), pids[0].to_string()).unwrap();
            "done"
        };
        Self::job_removed(&emitter, 7, job.as_ref(), &name, result).await?;
        Ok(job)
    }

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: ObjectPath<'_>,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

#[test]
fn containers_have_scopes_of_their_own() {
    let Some(bus) = Bus::start() else { return println!("no dbus-daemon here") };
    rerun("systemd::scopes", &[], |command| {
        command.env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address);
    });
}

#[tokio::test]
#[ignore = "run by another test"]
async fn scopes() {
    let Some(playground) = Playground::new("systemd") else { return };
    let manager = Manager { path: playground.path.clone() };
    let address = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap();
    let _connection = zbus::connection::Builder::address(address.as_str())
        .unwrap()
        .serve_at("/org/freedesktop/systemd1", manager)
        .unwrap()
        .name("org.freedesktop.systemd1")
        .unwrap()
        .build()
        .await
        .unwrap();

    let executor = Executor::new(config("gate.slice")).await.unwrap();
    let place = executor.cgroup().unwrap().to_owned();
    assert!(place.ends_with("executor") && place.starts_with(&playground.path), "{place:?}");
    let scope = place.parent().unwrap();
    let program = program();
    works(executor.new_process().await.unwrap(), &program).await;
    let group = ProcessGroup::builder(scope.join("guests")).create().unwrap();
    works(executor.new_group_process(Some(&group)).await.unwrap(), &program).await;
    executor.close().await;
    group.remove().await.unwrap();
    let mount = CgroupHierarchy::detect().unwrap().mount_point().to_owned();
    fs::remove_dir(mount.join(place.strip_prefix("/").unwrap())).unwrap();

    let error = Executor::new(config("broken.slice")).await.unwrap_err();
    assert!(matches!(error, ExecutorError::Cgroup(CgroupError::Systemd(_))), "{error}");
    assert!(error.to_string().contains("dependency"), "{error}");
}

#[test]
fn without_systemd_that_is_said() {
    rerun("systemd::none", &[], |command| {
        command.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus");
    });
}

#[tokio::test]
#[ignore = "run by another test"]
async fn none() {
    if CgroupHierarchy::detect().is_err() {
        return;
    }
    let error = Executor::new(config("gate.slice")).await.unwrap_err();
    assert!(error.to_string().starts_with("ask systemd for a scope: "), "{error}");
    if !std::path::Path::new("/run/systemd/system").exists() {
        assert!(error.to_string().contains("systemd does not run here"), "{error}");
    }
    executor().await.close().await;
}
