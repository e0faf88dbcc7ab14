//! Where processes come from.

mod distribute;
mod prepare;

pub use distribute::{
    DistributedGroupProcesses, DistributedProcesses, distribute_group_processes, distribute_processes,
};
pub use prepare::{ProcessChan, prepare_processes};

use crate::error::ExecutorError;
use crate::executor::Executor;
use crate::group::ProcessGroup;
use crate::process::Process;
use std::pin::Pin;
use std::sync::Arc;

/// A process in the making.
pub type NewProcess<'a> = Pin<Box<dyn Future<Output = Result<Process, ExecutorError>> + Send + 'a>>;

/// Makes processes.
pub trait ProcessFactory: Send + Sync {
    /// Makes a process, which waits for a program. If there are as many as there may be, waits for the end of one.
    fn new_process(&self) -> NewProcess<'_>;

    /// How many processes have been prepared, and can be had at once.
    fn prepared(&self) -> usize {
        0
    }

    /// How many processes there are: the fewer, the sooner it is the next one's turn among several.
    fn load(&self) -> usize {
        0
    }

    /// Whether it will never make a process again.
    fn is_dead(&self) -> bool {
        false
    }
}

/// Makes processes in groups.
pub trait GroupProcessFactory: ProcessFactory {
    /// Makes a process in a group, or in the default one if none is given.
    fn new_group_process<'a>(&'a self, group: Option<&'a ProcessGroup>) -> NewProcess<'a>;
}

impl ProcessFactory for Executor {
    fn new_process(&self) -> NewProcess<'_> {
        Box::pin(Executor::new_process(self))
    }

    fn load(&self) -> usize {
        self.processes()
    }

    fn is_dead(&self) -> bool {
        Executor::is_dead(self)
    }
}

impl GroupProcessFactory for Executor {
    fn new_group_process<'a>(&'a self, group: Option<&'a ProcessGroup>) -> NewProcess<'a> {
        Box::pin(Executor::new_group_process(self, group))
    }
}

impl Executor {
    /// A factory which makes processes in a group unless another is given. If this is not given, it is the default one.
    pub fn group(self: &Arc<Self>, group: Option<ProcessGroup>) -> GroupExecutor {
        GroupExecutor { executor: Arc::clone(self), group }
    }
}

/// Overrides the default group of an executor.
#[derive(Clone, Debug)]
pub struct GroupExecutor {
    /// What makes the processes.
    pub executor: Arc<Executor>,
    /// Where it makes them.
    pub group: Option<ProcessGroup>,
}

impl GroupExecutor {
    /// Makes a process in this factory's group.
    pub async fn new_process(&self) -> Result<Process, ExecutorError> {
        self.executor.new_group_process(self.group.as_ref()).await
    }

    /// Makes a process in a group, or in this factory's if none is given.
    pub async fn new_group_process(&self, group: Option<&ProcessGroup>) -> Result<Process, ExecutorError> {
        self.executor.new_group_process(group.or(self.group.as_ref())).await
    }
}

impl ProcessFactory for GroupExecutor {
    fn new_process(&self) -> NewProcess<'_> {
        Box::pin(GroupExecutor::new_process(self))
    }

    fn load(&self) -> usize {
        self.executor.processes()
    }

    fn is_dead(&self) -> bool {
        self.executor.is_dead()
    }
}

impl GroupProcessFactory for GroupExecutor {
    fn new_group_process<'a>(&'a self, group: Option<&'a ProcessGroup>) -> NewProcess<'a> {
        Box::pin(GroupExecutor::new_group_process(self, group))
    }
}

impl<F: ProcessFactory + ?Sized> ProcessFactory for Arc<F> {
    fn new_process(&self) -> NewProcess<'_> {
        (**self).new_process()
    }

    fn prepared(&self) -> usize {
        (**self).prepared()
    }

    fn load(&self) -> usize {
        (**self).load()
    }

    fn is_dead(&self) -> bool {
        (**self).is_dead()
    }
}

impl<F: GroupProcessFactory + ?Sized> GroupProcessFactory for Arc<F> {
    fn new_group_process<'a>(&'a self, group: Option<&'a ProcessGroup>) -> NewProcess<'a> {
        (**self).new_group_process(group)
    }
}
