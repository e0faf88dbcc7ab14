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
//! | `process` | processes: started, killed, closed |
//! | `serve` | host calls, and how a program ended |
//! | `host` | what a host offers to programs |
//! | `program` | what a process needs to know of a program |
//! | `control` | the control socket, and ids |
//! | `container` | id maps, and what to say when the kernel forbids something |
//! | `spawn` | system calls of a new process before it executes the executor |
//! | `watch` | descriptors that tokio watches |
//! | `config`, `result`, `error` | options, outcomes, errors |

mod config;
mod container;
mod control;
mod error;
mod executor;
mod host;
mod process;
mod program;
mod result;
mod serve;
mod spawn;
mod watch;

pub use config::{Config, ContainerConfig, ContainerIds, MAX_PROCS, ProcessPolicy};
pub use error::{AbnormalExit, ExecutorError, HostFault, ProcessError};
pub use executor::Executor;
pub use gate_wire::trap::TrapId;
pub use host::{HostFunctions, NoHostFunctions};
pub use process::{Killer, Process};
pub use program::{ProgramCode, ProgramState};
pub use result::{Outcome, RESULT_SUCCESS, Result};
