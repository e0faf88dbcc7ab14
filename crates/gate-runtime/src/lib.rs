//! Runs programs in processes of their own.
//!
//! An [`Executor`] has a container: namespaces in which there is nothing. In it, it makes a [`Process`] for each
//! program instance, which maps the text of a [`Program`](gate_image::Program) and the state of an
//! [`Instance`](gate_image::Instance), gives up nearly all rights, and runs. What the program cannot do by itself it asks
//! for by host calls, which the host answers as it sees fit ([`HostFunctions`]).
//!
//! ```no_run
//! # async fn run(module: gate_compiler::CompiledModule) -> Result<(), Box<dyn std::error::Error>> {
//! use gate_image::{Instance, InstanceOptions, Program};
//! use gate_runtime::{Config, Executor, NoHostFunctions, ProcessPolicy};
//!
//! let executor = Executor::new(Config::default()).await?;
//! let program = Program::new(module)?;
//! let mut instance = Instance::new(&program, &InstanceOptions::default())?;
//! instance.set_program_entry("_start")?;
//!
//! let mut process = executor.new_process().await?;
//! process.start(&program, &mut instance, ProcessPolicy::default())?;
//! let outcome = process.serve(&mut NoHostFunctions).await?;
//! println!("{outcome}\n{}", instance.backtrace()?);
//! # Ok(())
//! # }
//! ```
//!
//! | module | concern |
//! |---|---|
//! | `executor` | executors: made, closed, dead |
//! | `supervisor` | executors that are replaced when they die |
//! | `factory` | what makes processes: in advance, and distributed among executors |
//! | `process` | processes: started, killed, closed |
//! | `serve` | host calls, and how a program ended |
//! | `receive` | what comes through a call socket |
//! | `custody` | the state of a program that has stopped, put in order |
//! | `export` | the frames of a program that has stopped |
//! | `snapshot` | all of a program that has stopped, as a file |
//! | `host` | what a host offers to programs |
//! | `packets` | packets between programs and services |
//! | `program` | what a process needs to know of a program |
//! | `life`, `limit` | a process's key, log and use of the processor; limits on it |
//! | `group`, `cgroup` | control groups: limits for many processes, and where they are in the file system |
//! | `daemon` | containers that are made for others |
//! | `metrics` | numbers for monitoring |
//! | `control` | the control socket, and ids |
//! | `container` | containers, and what to say when the kernel forbids something |
//! | `spawn` | system calls of a new process before it executes the executor |
//! | `watch` | descriptors that tokio watches |
//! | `config`, `result`, `error` | options, outcomes, errors |

mod cgroup;
mod config;
mod container;
mod control;
mod custody;
mod daemon;
mod error;
mod executor;
mod export;
mod factory;
mod group;
mod host;
mod life;
mod limit;
mod look;
mod metrics;
mod packets;
mod process;
mod program;
mod receive;
mod result;
mod serve;
mod snapshot;
mod spawn;
mod supervisor;
mod watch;

pub use cgroup::{CgroupError, CgroupHierarchy};
pub use config::{
    Binaries, CgroupConfig, Config, ContainerCgroup, ContainerConfig, ContainerIds, MAX_PROCS, ProcessPolicy,
    SystemdScope,
};
pub use container::install_binaries;
pub use daemon::{Access, DAEMON_SOCKET, Daemon, DaemonConfig, DaemonError, DaemonStatus};
pub use error::{AbnormalExit, ExecutorError, ExportError, HostFault, ProcessError, RestoreError};
pub use executor::Executor;
pub use factory::{
    DistributedGroupProcesses, DistributedProcesses, GroupExecutor, GroupProcessFactory, NewProcess,
    ProcessChan, ProcessFactory, distribute_group_processes, distribute_processes, prepare_processes,
};
pub use gate_image::ServiceState as SavedService;
pub use gate_wire::trap::TrapId;
pub use group::{GroupBuilder, GroupUsage, IoLimit, IoUsage, ProcessGroup, open_cgroup};
pub use host::{HostFunctions, NoHostFunctions, Start};
pub use life::ProcessKey;
pub use limit::{Limit, LimitAction};
pub use packets::{
    CreateServerError, DebugLog, InstanceServer, Packet, PacketBytes, PacketHost, ServiceConfig,
    ServiceError, ServiceRegistry, ServiceState,
};
pub use process::{Killer, Process};
pub use program::{ProgramCode, ProgramState};
pub use result::{Outcome, RESULT_SUCCESS, Result};
pub use snapshot::SnapshotFailure;
pub use supervisor::{RestartPolicy, Supervisor};
