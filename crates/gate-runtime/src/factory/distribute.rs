//! Several factories which look like one.

use super::{GroupProcessFactory, NewProcess, ProcessFactory};
use crate::error::ExecutorError;
use crate::group::ProcessGroup;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Distributes processes among several factories, evenly; those that have prepared ones come first. What is dead
/// does not take part any more.
pub fn distribute_processes(
    factories: impl IntoIterator<Item = Arc<dyn ProcessFactory>>,
) -> DistributedProcesses {
    DistributedProcesses { factories: factories.into_iter().collect(), turn: AtomicUsize::new(0) }
}

/// Like [`distribute_processes`], for factories that make processes in groups.
pub fn distribute_group_processes(
    factories: impl IntoIterator<Item = Arc<dyn GroupProcessFactory>>,
) -> DistributedGroupProcesses {
    DistributedGroupProcesses { factories: factories.into_iter().collect(), turn: AtomicUsize::new(0) }
}

/// See [`distribute_processes`].
pub struct DistributedProcesses {
    factories: Vec<Arc<dyn ProcessFactory>>,
    turn: AtomicUsize,
}

/// See [`distribute_group_processes`].
pub struct DistributedGroupProcesses {
    factories: Vec<Arc<dyn GroupProcessFactory>>,
    turn: AtomicUsize,
}

/// The living ones, the best first. What is equally good takes turns.
fn in_order<F: ProcessFactory + ?Sized>(factories: &[Arc<F>], turn: &AtomicUsize) -> Vec<Arc<F>> {
    let count = factories.len().max(1);
    let turn = turn.fetch_add(1, Ordering::Relaxed) % count;
    let (early, late) = factories.split_at(turn.min(factories.len()));
    let mut order: Vec<_> = late.iter().chain(early).filter(|factory| !factory.is_dead()).collect();
    order.sort_by_cached_key(|factory| (factory.prepared() == 0, factory.load()));
    order.into_iter().cloned().collect()
}

impl ProcessFactory for DistributedProcesses {
    fn new_process(&self) -> NewProcess<'_> {
        Box::pin(async {
            for factory in in_order(&self.factories, &self.turn) {
                match factory.new_process().await {
                    // It has died since it was looked at.
                    Err(ExecutorError::Dead) => {}
                    result => return result,
                }
            }
            Err(ExecutorError::Dead)
        })
    }

    fn prepared(&self) -> usize {
        self.factories.iter().map(|factory| factory.prepared()).sum()
    }

    fn load(&self) -> usize {
        self.factories.iter().map(|factory| factory.load()).sum()
    }

    fn is_dead(&self) -> bool {
        self.factories.iter().all(|factory| factory.is_dead())
    }
}

impl ProcessFactory for DistributedGroupProcesses {
    fn new_process(&self) -> NewProcess<'_> {
        self.new_group_process(None)
    }

    fn prepared(&self) -> usize {
        self.factories.iter().map(|factory| factory.prepared()).sum()
    }

    fn load(&self) -> usize {
        self.factories.iter().map(|factory| factory.load()).sum()
    }

    fn is_dead(&self) -> bool {
        self.factories.iter().all(|factory| factory.is_dead())
    }
}

impl GroupProcessFactory for DistributedGroupProcesses {
    fn new_group_process<'a>(&'a self, group: Option<&'a ProcessGroup>) -> NewProcess<'a> {
        Box::pin(async move {
            for factory in in_order(&self.factories, &self.turn) {
                match factory.new_group_process(group).await {
                    // It has died since it was looked at.
                    Err(ExecutorError::Dead) => {}
                    result => return result,
                }
            }
            Err(ExecutorError::Dead)
        })
    }
}
