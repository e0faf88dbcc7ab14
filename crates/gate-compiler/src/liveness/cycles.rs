//! Which loops need no check of their own.
//!
//! A program must be able to stop in each round of a loop. If every way round a loop leads through the header of a loop inside that has a
//! check, or through a call of a function that has one at its entry, then it can. Of a nest of loops, mostly only the
//! innermost one needs a check.

use super::Scan;
use super::events::Event;

/// How often the code is looked at. Each time, all loops become known whose inner loops are known.
const MAX_PASSES: u32 = 6;

/// Numbers of the loops of a function that need no check, ascending.
pub(super) fn unchecked_loops(scan: &Scan) -> Vec<u32> {
    if scan.loops == 0 || scan.events.iter().any(|event| matches!(event, Event::Try)) {
        return Vec::new();
    }
    let mut cycles = Cycles {
        scan,
        loops: vec![Loop::default(); scan.loops as usize],
        blocks: Vec::new(),
        open_loops: Vec::new(),
        passed: Some(0),
    };
    for &number in &scan.checked_loops {
        cycles.loops[number as usize].checked = true;
    }
    if !(0..MAX_PASSES).any(|_| cycles.pass()) {
        return Vec::new();
    }
    let needs_none = |&number: &u32| !cycles.loops[number as usize].checked;
    (0..scan.loops).filter(needs_none).collect()
}

/// What is known about a loop.
#[derive(Clone, Copy, Default)]
struct Loop {
    /// It has a check.
    checked: bool,
    /// In this pass, a way round it without a check was found.
    open: bool,
    /// In this pass, such a way was found round a loop inside.
    open_inside: bool,
}

struct Cycles<'a> {
    scan: &'a Scan,
    loops: Vec<Loop>,
    blocks: Vec<Block>,
    /// Numbers of open loops.
    open_loops: Vec<u32>,
    /// In how many of the open loops, from outside, there has been a check since the header, on all ways to this point. `None` if
    /// there is no way.
    passed: Option<u32>,
}

/// An open block.
struct Block {
    /// Of a loop.
    number: Option<u32>,
    /// Number of open loops, itself included.
    depth: u32,
    /// [`Cycles::passed`] of the branches to the end.
    end: Option<u32>,
    /// And at the start of the alternative.
    alternative: Option<u32>,
}

impl Cycles<'_> {
    /// Looks at the code once. Innermost ones of the loops round which there is a way without a check get one. Returns whether there
    /// was none.
    fn pass(&mut self) -> bool {
        let scan = self.scan;
        self.passed = Some(0);
        self.blocks.clear();
        self.open_loops.clear();
        self.open(None, None);
        for event in &scan.events {
            match *event {
                Event::Block => self.open(None, None),
                Event::If => self.open(None, self.passed),
                Event::Loop(number) => self.open_loop(number),
                Event::Else => {
                    let passed = self.passed;
                    if let Some(block) = self.blocks.last_mut() {
                        block.end = least(block.end, passed);
                        self.passed = block.alternative.take();
                    }
                }
                Event::End(_) => self.end(),
                Event::Branch(depth) => {
                    self.branch(depth);
                    self.passed = None;
                }
                Event::BranchIf(depth) => self.branch(depth),
                Event::BranchTable(start, end) => {
                    for &depth in &scan.branch_tables[start as usize..end as usize] {
                        self.branch(depth);
                    }
                    self.passed = None;
                }
                Event::Leave | Event::Throw => self.passed = None,
                Event::Check => self.passed = self.passed.map(|_| self.depth()),
                _ => {}
            }
        }
        let mut is_settled = true;
        for known in &mut self.loops {
            if std::mem::take(&mut known.open) {
                is_settled = false;
                known.checked |= !known.open_inside;
            }
            known.open_inside = false;
        }
        is_settled
    }

    /// Number of open loops.
    fn depth(&self) -> u32 {
        self.open_loops.len() as u32
    }

    fn open(&mut self, number: Option<u32>, alternative: Option<u32>) {
        self.blocks.push(Block { number, depth: self.depth(), end: None, alternative });
    }

    fn open_loop(&mut self, number: u32) {
        self.open_loops.push(number);
        self.open(Some(number), None);
        let known = &mut self.loops[number as usize];
        if known.checked {
            self.passed = self.passed.map(|_| self.depth());
        }
    }

    fn end(&mut self) {
        let Some(block) = self.blocks.pop() else { return };
        self.passed = least(least(self.passed, block.end), block.alternative);
        if let Some(number) = block.number {
            self.open_loops.pop();
            self.passed = self.passed.map(|passed| passed.min(self.depth()));
            let Loop { open, open_inside, .. } = self.loops[number as usize];
            if let Some(&around) = self.open_loops.last() {
                self.loops[around as usize].open_inside |= open || open_inside;
            }
        }
    }

    fn branch(&mut self, depth: u32) {
        let Some(passed) = self.passed else { return };
        let Some(index) = self.blocks.len().checked_sub(1 + depth as usize) else { return };
        let block = &mut self.blocks[index];
        match block.number {
            Some(number) => self.loops[number as usize].open |= passed < block.depth,
            None => block.end = least(block.end, Some(passed.min(block.depth))),
        }
    }
}

/// What holds on two ways that meet.
fn least(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callgraph::CallGraph;
    use crate::liveness::tests::first_body;

    /// Of a module's only body. Calls of function 0 have a check.
    fn unchecked(code: &str) -> Vec<u32> {
        let wasm = wat::parse_str(format!(
            "(module (import \"\" \"\" (func $checked)) (import \"\" \"\" (func $other)) (func (param $p i32) {code}))"
        ))
        .unwrap();
        let graph = CallGraph::default();
        let checks = |function| function == 0;
        let scan = Scan::new(&first_body(&wasm), 1, false, |_| true, checks, |_| false, &graph).unwrap();
        unchecked_loops(&scan)
    }

    #[test]
    fn innermost_loops_are_checked() {
        assert_eq!(unchecked("(loop (br 0))"), []);
        assert_eq!(unchecked("(loop (loop (br 0)) (br 0))"), [0]);
        assert_eq!(
            unchecked("(loop (loop (loop (br_if 0 (local.get $p))) (br_if 0 (local.get $p))) (br 0))"),
            [0, 1]
        );
        assert_eq!(unchecked("(loop (loop (br_if 0 (local.get $p))) (loop (br 0)) (br 0))"), [0]);
        // A way round it that does not go through the inner loop's header again goes through it once.
        assert_eq!(unchecked("(loop (loop (br_if 1 (local.get $p)) (br 0)))"), [0]);
        // Not a loop at all.
        assert_eq!(unchecked("(loop (br_if 1 (local.get $p)))"), [0]);
    }

    #[test]
    fn ways_round_the_check_count() {
        assert_eq!(unchecked("(loop (br_if 0 (local.get $p)) (loop (br 0)) (br 0))"), []);
        assert_eq!(unchecked("(loop (if (local.get $p) (then (loop (br_if 0 (local.get $p))))) (br 0))"), []);
        assert_eq!(
            unchecked(
                "(loop $o (block (br_table 0 $o (local.get $p))) (loop (br_if 0 (local.get $p))) (br 0))"
            ),
            []
        );
        assert_eq!(
            unchecked("(loop $o (block (br_if 0 (local.get $p)) (loop (br_if 0 (local.get $p)))) (br $o))"),
            []
        );
        let both =
            "(loop (if (local.get $p) (then (loop (br_if 0 (local.get $p)))) (else (call $checked))) (br 0))";
        assert_eq!(unchecked(both), [0]);
        let one = both.replace("$checked", "$other");
        assert_eq!(unchecked(&one), []);
    }

    #[test]
    fn calls_are_checks_of_all_loops_around() {
        assert_eq!(unchecked("(loop (loop (call $checked) (br_if 0 (local.get $p))) (br 0))"), [0, 1]);
        assert_eq!(unchecked("(loop (call $other) (br 0))"), []);
        assert_eq!(unchecked("(call $checked) (loop (br 0))"), []);
        // In the inner loop there has been none since its header.
        assert_eq!(unchecked("(loop (call $checked) (loop (br_if 0 (local.get $p))) (br 0))"), [0]);
        // Behind the inner loop, a check in it has happened only if there was one on all ways out.
        let out = "(loop $o (block $b (loop (br_if $b (local.get $p)) (call $checked) (br 0))) (br $o))";
        assert_eq!(unchecked(out), [1]);
    }

    #[test]
    fn deep_nests_are_checked_in_between() {
        let nest = |depth: usize| {
            let (open, close) = ("(loop ".repeat(depth), " (br_if 0 (local.get $p)))".repeat(depth));
            unchecked(&format!("{open}{close}")).len()
        };
        assert_eq!(nest(5), 4);
        assert_eq!(nest(100), 99);
        // There are too many instructions before the first check.
        assert_eq!(nest(1500), 1498);
    }

    #[test]
    fn handlers_make_all_loops_checked() {
        assert_eq!(unchecked("(try_table (loop (loop (br 0)) (br 0)))"), []);
    }
}
