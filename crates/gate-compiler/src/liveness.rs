//! Finds out which locals matter at which safepoint.
//!
//! A local is live where some path leads to an instruction that reads the value it has there. Only live locals
//! are written down when a program stops; without this, code would be half as large again.
//!
//! WebAssembly's control flow is structured, so a backward pass over the code needs a set of live locals only for each
//! open block, and one for each loop's header, which the pass is repeated for until none changes.

mod cycles;
mod events;
mod set;

pub(crate) use events::Scan;

use events::{Event, NO_LOOP, Try};
use set::{Budget, OverBudget, Set};
use std::ops::Range;

/// Live locals of each safepoint of a function.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    /// In the order of the code.
    safepoints: Vec<(u64, Range<u32>)>,
    locals: Vec<u32>,
    next: usize,
}

/// Sum of the numbers of live locals at all safepoints of a function. More than that in one function take a
/// compilation too much memory.
pub(crate) const MAX_LIVE_LOCALS: usize = 2 << 20;

/// There are more than [`MAX_LIVE_LOCALS`].
#[derive(Debug)]
pub(crate) struct TooManyLive;

impl Liveness {
    pub(crate) fn analyze(scan: &Scan) -> Result<Self, TooManyLive> {
        let result = match Analysis::new(scan, Budget::new()).run() {
            Ok(result) => result,
            // Hostile, or not from a compiler. All locals that are ever read are taken as live everywhere.
            Err(Stop::OverBudget) => everything(scan)?,
            Err(Stop::TooManyLive) => return Err(TooManyLive),
        };
        Ok(result)
    }

    /// Live locals of the next safepoint in the order of the code, ascending.
    ///
    /// Returns `None` if the next one is not at the given offset.
    pub(crate) fn next(&mut self, offset: u64) -> Option<Range<usize>> {
        let (expected, range) = self.safepoints.get(self.next)?;
        self.next += 1;
        (*expected == offset).then_some(range.start as usize..range.end as usize)
    }

    /// The locals in a range from [`Liveness::next`].
    pub(crate) fn locals(&self, range: Range<usize>) -> &[u32] {
        &self.locals[range]
    }

    fn push(&mut self, offset: u64, locals: impl IntoIterator<Item = u32>) -> Result<(), TooManyLive> {
        let start = self.locals.len();
        self.locals.extend(locals);
        if self.locals.len() > MAX_LIVE_LOCALS {
            return Err(TooManyLive);
        }
        self.safepoints.push((offset, start as u32..self.locals.len() as u32));
        Ok(())
    }
}

fn everything(scan: &Scan) -> Result<Liveness, TooManyLive> {
    let mut liveness = Liveness::default();
    for &offset in &scan.safepoints {
        liveness.push(offset, scan.read_locals.iter().copied())?;
    }
    Ok(liveness)
}

enum Stop {
    OverBudget,
    TooManyLive,
}

impl From<OverBudget> for Stop {
    fn from(_: OverBudget) -> Self {
        Self::OverBudget
    }
}

struct Analysis<'a> {
    scan: &'a Scan,
    budget: Budget,
    /// Live locals at loop headers, as far as known.
    headers: Vec<Set>,
    /// Blocks that are open at this point of the pass.
    blocks: Vec<Block>,
    /// Live locals where exceptions go, for each open block that catches any.
    handlers: Vec<Set>,
}

struct Block {
    /// Live locals after the block.
    after: Set,
    /// Live locals at the start of the `else` part.
    alternative: Option<Set>,
    loop_number: u32,
    /// Where exceptions go in the block: number of the set, plus one, or zero if they leave the function.
    handler: usize,
    /// Number of sets before the block.
    handlers: usize,
    /// Live locals at the starts of the parts of a `try` block that handle exceptions.
    catches: Set,
    /// Whether one of these handles all.
    catches_all: bool,
}

impl<'a> Analysis<'a> {
    fn new(scan: &'a Scan, budget: Budget) -> Self {
        Self { scan, budget, headers: Vec::new(), blocks: Vec::new(), handlers: Vec::new() }
    }

    fn run(mut self) -> Result<Liveness, Stop> {
        self.headers.resize_with(self.scan.loops as usize, Set::default);
        while self.pass(|_, _| Ok(()))? {}

        let mut reversed = Liveness::default();
        let scan = self.scan;
        self.pass(|safepoint, live| {
            let locals = live.iter().map(|index| scan.read_locals[index as usize]);
            reversed.push(scan.safepoints[safepoint as usize], locals).map_err(|_| Stop::TooManyLive)
        })?;
        reversed.safepoints.reverse();
        Ok(reversed)
    }

    /// Passes over the code once, backwards. Returns whether anything became live at a loop header.
    fn pass(&mut self, mut safepoint: impl FnMut(u32, &Set) -> Result<(), Stop>) -> Result<bool, Stop> {
        let mut changed = false;
        let mut live = Set::default();
        self.blocks.clear();
        self.handlers.clear();
        self.budget.start_pass();
        for event in self.scan.events.iter().rev() {
            match *event {
                Event::Read(local) => live.insert(local, &mut self.budget)?,
                Event::Write(local) => live.remove(local, &mut self.budget)?,
                Event::Safepoint(number) => safepoint(number, &live)?,
                Event::Check => {}
                Event::End(loop_number) => {
                    self.open(&live, loop_number, self.handler());
                }
                Event::EndTry(number) => {
                    let Try { targets: (start, end), all } = self.scan.tries[number as usize];
                    let mut caught = Set::default();
                    for &depth in &self.scan.branch_tables[start as usize..end as usize] {
                        let target = self.target(depth).clone();
                        caught.union(&target, &mut self.budget)?;
                    }
                    self.open(&live, NO_LOOP, self.handler());
                    self.catch(caught, all)?;
                }
                Event::EndCatch => self.open(&live, NO_LOOP, self.handler()),
                Event::Delegate(depth) => {
                    let block = self.blocks.len().checked_sub(1 + depth as usize);
                    let handler = block.map_or(0, |block| self.blocks[block].handler);
                    self.open(&live, NO_LOOP, handler);
                }
                Event::Catch { first, all } => {
                    if let Some(block) = self.blocks.last_mut() {
                        block.catches.union(&live, &mut self.budget)?;
                        block.catches_all |= all;
                        live = block.after.clone();
                        if first {
                            let (caught, all) = (std::mem::take(&mut block.catches), block.catches_all);
                            self.catch(caught, all)?;
                        }
                    }
                }
                Event::Try => {
                    if let Some(block) = self.blocks.pop() {
                        self.handlers.truncate(block.handlers);
                    }
                }
                Event::Throwing => {
                    if let Some(caught) = self.handler().checked_sub(1) {
                        live.union(&self.handlers[caught], &mut self.budget)?;
                    }
                }
                Event::Throw => {
                    let caught = self.handler().checked_sub(1);
                    live = caught.map_or_else(Set::default, |caught| self.handlers[caught].clone());
                }
                Event::Else => {
                    if let Some(block) = self.blocks.last_mut() {
                        block.alternative = Some(live);
                        live = block.after.clone();
                    } else {
                        live = Set::default();
                    }
                }
                Event::If => {
                    if let Some(block) = self.blocks.pop() {
                        live.union(&block.alternative.unwrap_or(block.after), &mut self.budget)?;
                    }
                }
                Event::Block => drop(self.blocks.pop()),
                Event::Loop(number) => {
                    self.blocks.pop();
                    changed |= self.headers[number as usize].union(&live, &mut self.budget)?;
                }
                Event::Branch(depth) => live = self.target(depth).clone(),
                Event::BranchIf(depth) => {
                    let target = self.target(depth).clone();
                    live.union(&target, &mut self.budget)?;
                }
                Event::BranchTable(start, end) => {
                    live = Set::default();
                    for &depth in &self.scan.branch_tables[start as usize..end as usize] {
                        let target = self.target(depth).clone();
                        live.union(&target, &mut self.budget)?;
                    }
                }
                Event::Leave => live = Set::default(),
            }
        }
        Ok(changed)
    }

    /// Comes to the end of a block in which exceptions go to a handler.
    fn open(&mut self, live: &Set, loop_number: u32, handler: usize) {
        self.blocks.push(Block {
            after: live.clone(),
            alternative: None,
            loop_number,
            handler,
            handlers: self.handlers.len(),
            catches: Set::default(),
            catches_all: false,
        });
    }

    /// Takes note of the live locals where exceptions go in the block: if not all of them are caught, they can also go where those of
    /// the block around it go.
    fn catch(&mut self, mut caught: Set, all: bool) -> Result<(), Stop> {
        if let Some(outer) = self.handler().checked_sub(1).filter(|_| !all) {
            caught.union(&self.handlers[outer], &mut self.budget)?;
        }
        self.handlers.push(caught);
        if let Some(block) = self.blocks.last_mut() {
            block.handler = self.handlers.len();
        }
        Ok(())
    }

    /// Where exceptions go at this point of the pass. See [`Block::handler`].
    fn handler(&self) -> usize {
        self.blocks.last().map_or(0, |block| block.handler)
    }

    /// Live locals where a branch goes.
    fn target(&self, depth: u32) -> &Set {
        let block = &self.blocks[self.blocks.len() - 1 - depth as usize];
        match block.loop_number {
            NO_LOOP => &block.after,
            number => &self.headers[number as usize],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callgraph::CallGraph;
    use wasmparser::{FunctionBody, Parser, Payload};

    /// Live locals at each safepoint of a module's only function, with `calls` to function 0 being safepoints.
    fn live(wat: &str) -> Vec<Vec<u32>> {
        let scan = scan(wat);
        listed(&scan, Liveness::analyze(&scan).unwrap())
    }

    fn listed(scan: &Scan, mut liveness: Liveness) -> Vec<Vec<u32>> {
        let list = |&offset: &u64| {
            let range = liveness.next(offset).unwrap();
            liveness.locals(range).to_vec()
        };
        scan.safepoints.iter().map(list).collect()
    }

    pub(super) fn first_body(wasm: &[u8]) -> FunctionBody<'_> {
        let mut payloads = Parser::new(0).parse_all(wasm);
        let body = payloads.find_map(|payload| match payload.unwrap() {
            Payload::CodeSectionEntry(body) => Some(body),
            _ => None,
        });
        body.unwrap()
    }

    fn scan(wat: &str) -> Scan {
        let wasm = wat::parse_str(format!("(module (import \"\" \"\" (func $stop)) {wat})")).unwrap();
        let graph = CallGraph::default();
        Scan::new(&first_body(&wasm), 2, false, |_| true, |_| false, |_| false, &graph).unwrap()
    }

    #[test]
    fn straight_line() {
        let code = "(func (param i32 i32) (local i32)
            call $stop
            (local.set 2 (local.get 0))
            call $stop
            (local.set 0 (i32.const 1))
            call $stop
            (drop (i32.add (local.get 2) (local.get 1)))
            call $stop)";
        assert_eq!(live(code), [vec![0, 1], vec![1, 2], vec![1, 2], vec![]]);
    }

    #[test]
    fn branches_join() {
        let code = "(func (param i32 i32) (local i32 i32)
            (if (local.get 0) (then call $stop (drop (local.get 1))) (else call $stop (local.set 3 (local.get 2))))
            call $stop
            (drop (local.get 3)))";
        assert_eq!(live(code), [vec![1, 3], vec![2], vec![3]]);
        let without_else = "(func (param i32 i32)
            call $stop
            (if (local.get 0) (then (local.set 1 (i32.const 0))))
            (drop (local.get 1)))";
        assert_eq!(live(without_else), [vec![0, 1]]);
    }

    #[test]
    fn exceptions_go_to_handlers() {
        // Local 0 is read where the exception goes, local 1 behind the block, local 2 where nothing goes that is thrown in it.
        let module = |catch: &str| {
            format!(
                "(tag) (func (param i32 i32) (local i32)
                    (block $outer
                        (block $h
                            (try_table {catch}
                                call $stop
                                (if (local.get 1) (then (throw 0))))
                            (drop (local.get 1))
                            (return))
                        (drop (local.get 0))
                        (return))
                    (drop (local.get 2)))"
            )
        };
        assert_eq!(live(&module("(catch_all $h)")), [vec![0, 1]]);
        assert_eq!(live(&module("(catch 0 $h) (catch_all $outer)")), [vec![0, 1, 2]]);
        assert_eq!(live(&module("(catch_all $h) (catch 0 $outer)")), [vec![0, 1]]);
        assert_eq!(live(&module("")), [vec![1]]);
        // What is not caught goes on to the next block around.
        let nested = "(tag) (func (param i32 i32)
            (block $h
                (try_table (catch 0 $h)
                    (try_table (catch 0 1) call $stop (local.set 0 (i32.const 1)))
                    call $stop)
                (return))
            (drop (local.get 0)))";
        assert_eq!(live(nested), [vec![0], vec![0]]);
    }

    #[test]
    fn older_handlers_are_parts_of_blocks() {
        let code = "(tag) (func (param i32 i32)
            try
                call $stop
                try
                    call $stop
                delegate 1
                (drop (local.get 1))
            catch 0
                call $stop
                (drop (local.get 0))
                rethrow 0
            catch_all
                (local.set 0 (i32.const 1))
                call $stop
            end)";
        // The exception that is thrown again is local 2. Nothing that is thrown in the inner block gets to the handlers.
        assert_eq!(live(code), [vec![0, 1], vec![1], vec![0, 2], vec![]]);
    }

    #[test]
    fn loops_carry() {
        // Local 1 is read in the next round before it is written; local 2 is always written first.
        let code = "(func (param i32 i32) (local i32)
            (loop
                call $stop
                (drop (local.get 1))
                (local.set 2 (i32.const 1))
                (drop (local.get 2))
                (local.set 1 (i32.const 2))
                (br_if 0 (local.get 0))))";
        assert_eq!(live(code), [vec![0, 1], vec![0, 1]]);
    }

    #[test]
    fn nested_loops_need_several_passes() {
        let code = "(func (param i32 i32) (local i32)
            (loop
                (loop
                    (loop call $stop (br_if 0 (local.get 0)))
                    (br_if 0 (local.get 0)))
                (drop (local.get 1))
                (br_if 0 (local.get 0)))
            (drop (local.get 2)))";
        assert_eq!(live(code), vec![vec![0, 1, 2]; 4]);
    }

    #[test]
    fn dead_code_reads_nothing() {
        let code = "(func (param i32 i32)
            call $stop
            (block (br 0) (drop (local.get 0)) (loop call $stop (br 0)))
            return
            (drop (local.get 1)))";
        assert_eq!(live(code), [vec![]; 1]);
        let never_left = "(func (param i32) (block (loop (br 0))) call $stop (drop (local.get 0)))";
        assert_eq!(live(never_left), [vec![]; 1]);
    }

    #[test]
    fn tables_of_branches() {
        let code = "(func (param i32 i32) (local i32)
            (block
                (block
                    call $stop
                    (br_table 0 1 2 (local.get 0)))
                (drop (local.get 1))
                return)
            (drop (local.get 2)))";
        assert_eq!(live(code), [vec![0, 1, 2]]);
    }

    #[test]
    fn over_budget_is_a_superset() {
        let scan =
            scan("(func (param i32 i32) (local i32) call $stop (drop (local.get 1)) (drop (local.get 2)))");
        let none = Budget::with_words(0);
        assert!(matches!(Analysis::new(&scan, none).run(), Err(Stop::OverBudget)));
        assert_eq!(listed(&scan, everything(&scan).unwrap()), [vec![1, 2]]);
    }

    #[test]
    fn huge_functions_take_bounded_time() {
        let locals = 50_000;
        // Everything is live in everything: more than the budget.
        let body = "(loop (block (if (local.get 0) (then (local.set 1 (local.get 2))) (else (local.set 2 (local.get 1))))"
            .repeat(10_000);
        let reads: String = (0..locals).map(|local| format!("(drop (local.get {local}))")).collect();
        let code = format!("(func (local {}) {body} {} {reads})", "i32 ".repeat(locals), "))".repeat(10_000));
        let scan = scan(&code);
        let start = std::time::Instant::now();
        let result = Liveness::analyze(&scan);
        assert!(matches!(result, Err(TooManyLive)));
        assert!(start.elapsed().as_secs() < 20);
    }
}
