//! Call stacks, as a tree.

use gate_image::Sample;
use std::collections::HashMap;

/// Most different stacks, those of callers included. What a program does is up to the program.
const MAX_NODES: usize = 1 << 20;

/// Most samples whose times are kept.
const MAX_SAMPLES: usize = 1 << 21;

/// A call stack: a function, and the stack of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) caller: Option<u32>,
    pub(super) function: u32,
    /// Number of samples of just this stack.
    pub(super) count: u64,
}

/// Stacks that were sampled.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    /// Callers come before those whom they call.
    nodes: Vec<Node>,
    index: HashMap<(Option<u32>, u32), u32>,
    samples: Vec<(u64, u32)>,
    is_incomplete: bool,
}

impl Stacks {
    pub(super) fn add(&mut self, sample: Sample) {
        let mut stack = None;
        for function in sample.functions.into_iter().rev() {
            match self.callee(stack, function) {
                Some(callee) => stack = Some(callee),
                None => {
                    self.is_incomplete = true;
                    break;
                }
            }
        }
        let Some(stack) = stack else { return };
        self.nodes[stack as usize].count += 1;
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push((sample.time, stack));
        } else {
            self.is_incomplete = true;
        }
    }

    fn callee(&mut self, caller: Option<u32>, function: u32) -> Option<u32> {
        if let Some(&node) = self.index.get(&(caller, function)) {
            return Some(node);
        }
        if self.nodes.len() >= MAX_NODES {
            return None;
        }
        let node = self.nodes.len() as u32;
        self.nodes.push(Node { caller, function, count: 0 });
        self.index.insert((caller, function), node);
        Some(node)
    }

    /// All stacks, with callers before those whom they call.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Times in nanoseconds, and stacks by index, in the order of the samples.
    pub(super) fn samples(&self) -> &[(u64, u32)] {
        &self.samples
    }

    /// Whether some samples or some of their functions have been left out.
    pub(super) fn is_incomplete(&self) -> bool {
        self.is_incomplete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_stacks_are_one() {
        let mut stacks = Stacks::default();
        for (time, functions) in
            [(1, vec![3, 2]), (2, vec![2]), (3, vec![3, 2]), (4, vec![3, 1]), (5, vec![])]
        {
            stacks.add(Sample { time, functions });
        }
        let counts: Vec<_> =
            stacks.nodes().iter().map(|node| (node.caller, node.function, node.count)).collect();
        assert_eq!(counts, [(None, 2, 1), (Some(0), 3, 2), (None, 1, 0), (Some(2), 3, 1)]);
        assert_eq!(stacks.samples(), [(1, 1), (2, 0), (3, 1), (4, 3)]);
        assert!(!stacks.is_incomplete());
    }
}
