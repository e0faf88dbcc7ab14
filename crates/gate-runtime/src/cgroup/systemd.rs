//! Scopes of systemd: control groups which it makes and leaves to others.

use super::{CgroupError, CgroupHierarchy};
use crate::config::SystemdScope;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::timeout;
use zbus::zvariant::{ObjectPath, OwnedObjectPath, Value};
use zbus::{Connection, Proxy};

/// How long systemd may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Exists exactly if systemd is the system's first process.
const BOOTED: &str = "/run/systemd/system";

/// Puts a process into a scope of its own. Gives the path of the scope's group, which has the process in it.
pub(crate) async fn enter_scope(
    hierarchy: &CgroupHierarchy,
    scope: &SystemdScope,
    pid: i32,
) -> Result<PathBuf, CgroupError> {
    match timeout(PATIENCE, start_scope(scope, pid)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(CgroupError::Systemd(explain(&error, scope))),
        Err(_) => return Err(CgroupError::Systemd("it does not answer".into())),
    }
    let path = hierarchy.group_of(Some(pid))?;
    match path.extension().is_some_and(|extension| extension == "scope") {
        true => Ok(path),
        false => Err(CgroupError::Systemd(format!(
            "it says that there is one, but the executor is in {path:?}: its groups are not in the hierarchy at {:?}",
            hierarchy.mount_point()
        ))),
    }
}

async fn start_scope(scope: &SystemdScope, pid: i32) -> zbus::Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);

    let bus = if scope.user { Connection::session().await? } else { Connection::system().await? };
    let manager = Proxy::new(
        &bus,
        "org.freedesktop.systemd1",
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
    )
    .await?;
    // Without subscribers, systemd does not tell.
    manager.call_method("Subscribe", &()).await?;
    let mut jobs = manager.receive_signal("JobRemoved").await?;

    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("gate-{}-{number}.scope", std::process::id());
    let pids = Value::from(vec![pid as u32]);
    let mut properties = vec![
        ("Description", Value::from("Gate container")),
        ("PIDs", pids),
        ("Delegate", Value::from(true)),
        ("CollectMode", Value::from("inactive-or-failed")),
    ];
    if let Some(slice) = &scope.slice {
        properties.push(("Slice", Value::from(slice.as_str())));
    }
    let others: Vec<(&str, Vec<(&str, Value<'_>)>)> = Vec::new();
    let job: OwnedObjectPath =
        manager.call("StartTransientUnit", &(name.as_str(), "fail", properties, others)).await?;
    let result = job_result(&mut jobs, &job).await?;
    match result.as_str() {
        "done" => Ok(()),
        other => Err(zbus::Error::Failure(format!("the job for {name} ended with {other:?}"))),
    }
}

/// Waits for the end of a job.
async fn job_result(jobs: &mut zbus::proxy::SignalStream<'_>, job: &OwnedObjectPath) -> zbus::Result<String> {
    loop {
        let message = next(jobs).await.ok_or(zbus::Error::InterfaceNotFound)?;
        let body = message.body();
        let (_, path, _, result): (u32, ObjectPath<'_>, String, String) = body.deserialize()?;
        if path == job.as_ref() {
            return Ok(result);
        }
    }
}

/// The next of a stream's items.
async fn next(stream: &mut zbus::proxy::SignalStream<'_>) -> Option<zbus::Message> {
    use zbus::export::ordered_stream::OrderedStreamExt;
    OrderedStreamExt::next(stream).await
}

fn explain(error: &zbus::Error, scope: &SystemdScope) -> String {
    // Has anybody answered?
    match error {
        zbus::Error::MethodError(..) | zbus::Error::Failure(_) => error.to_string(),
        _ if !Path::new(BOOTED).exists() => {
            format!("systemd does not run here ({BOOTED} does not exist): {error}")
        }
        _ if scope.user => format!("no session bus (is DBUS_SESSION_BUS_ADDRESS set?): {error}"),
        _ => error.to_string(),
    }
}
