//! What of a function's code matters to liveness.

use super::cycles::unchecked_loops;
use crate::breakpoints::{breakpoint_offset, is_bulk};
use crate::callgraph::CallGraph;
use crate::dead::concerns_live_block;
use crate::stretch::Stretch;
use wasmparser::{Catch, FunctionBody, Operator, TryTable};

/// What of a function's code matters to liveness. Code that cannot be reached is left out, by the same
/// rules as in translation.
#[derive(Debug)]
pub(crate) struct Scan {
    /// In the order of the code.
    pub(super) events: Vec<Event>,
    /// Branch depths of all branch tables.
    pub(super) branch_tables: Vec<u32>,
    /// Code offsets of safepoints.
    pub(super) safepoints: Vec<u64>,
    /// Number of loops.
    pub(super) loops: u32,
    /// Code offsets of loops that need no check of their own, ascending.
    pub(crate) unchecked_loops: Vec<u64>,
    /// Numbers of loops that have a check whatever is in them.
    pub(super) checked_loops: Vec<u32>,
    /// Code offsets of instructions before which there is a check because a stretch ends there, ascending.
    pub(crate) stretch_ends: Vec<u64>,
    /// `try_table` blocks.
    pub(super) tries: Vec<Try>,
    /// Number of locals that keep exceptions: of `catch` and `catch_all` instructions up to the last whose exception is thrown
    /// again.
    pub(crate) caught: u32,
    /// Locals that are read anywhere, ascending. Events number the locals by their position here.
    pub(super) read_locals: Vec<u32>,
}

/// What a `try_table` block catches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Try {
    /// Where exceptions go, as depths from outside: a range of [`Scan::branch_tables`].
    pub(super) targets: (u32, u32),
    /// Whether all exceptions are caught.
    pub(super) all: bool,
}

/// Something in the code.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// A local is read.
    Read(u32),
    /// A local is written.
    Write(u32),
    /// A safepoint, by number.
    Safepoint(u32),
    /// A call of a function that has a check at its entry.
    Check,
    /// Start of a block.
    Block,
    /// Start of a loop, by number.
    Loop(u32),
    /// Start of a conditional block.
    If,
    /// Start of its alternative.
    Else,
    /// End of a block, or of a loop with this number.
    End(u32),
    /// A branch, by depth.
    Branch(u32),
    /// A conditional branch, by depth.
    BranchIf(u32),
    /// A branch to one of several blocks, by range of [`Scan::branch_tables`].
    BranchTable(u32, u32),
    /// Return, tail call or trap.
    Leave,
    /// Something can be thrown.
    Throwing,
    /// Something is thrown.
    Throw,
    /// Start of a `try_table` block, or of a `try` block of the older encoding.
    Try,
    /// End of a `try_table` block, by number.
    EndTry(u32),
    /// Start of a part of a `try` block that handles exceptions.
    Catch {
        /// Whether it is the block's first such part.
        first: bool,
        /// Whether it handles all exceptions.
        all: bool,
    },
    /// End of a `try` block.
    EndCatch,
    /// End of a `try` block whose exceptions go to what catches those of an enclosing block, by depth from outside.
    Delegate(u32),
}

/// [`Event::End`] of something else than a loop.
pub(super) const NO_LOOP: u32 = u32::MAX;

/// The code is not valid.
#[derive(Debug)]
pub(crate) struct Invalid;

impl From<wasmparser::Error> for Invalid {
    fn from(_: wasmparser::Error) -> Self {
        Self
    }
}

impl Scan {
    /// Scans a function with the given number of parameters, whose code need not be valid.
    ///
    /// `entry_check` tells whether its entry is a safepoint, `call_stops` whether a call of a function is one, `call_checks` whether
    /// such a function has a check at its entry, `breakpoint` whether there is one at a code offset.
    pub(crate) fn new(
        body: &FunctionBody<'_>,
        params: u32,
        entry_check: bool,
        call_stops: impl Fn(u32) -> bool,
        call_checks: impl Fn(u32) -> bool,
        breakpoint: impl Fn(u64) -> bool,
        graph: &CallGraph,
    ) -> Result<Self, Invalid> {
        let mut locals = u64::from(params);
        for declaration in body.get_locals_reader()? {
            locals += u64::from(declaration?.0);
        }
        let scan = Self {
            events: Vec::new(),
            branch_tables: Vec::new(),
            safepoints: Vec::new(),
            loops: 0,
            unchecked_loops: Vec::new(),
            checked_loops: Vec::new(),
            stretch_ends: Vec::new(),
            tries: Vec::new(),
            caught: 0,
            read_locals: Vec::new(),
        };
        let mut scanner = Scanner {
            scan,
            blocks: vec![Block::default()],
            reachable: true,
            dead_blocks: 0,
            open_tries: 0,
            locals,
            catches: 0,
            loop_offsets: Vec::new(),
            stretch: Stretch::default(),
        };
        if entry_check {
            scanner.safepoint(body.range().start);
        }
        let mut reader = body.get_operators_reader()?;
        while !reader.eof() {
            let (op, offset) = reader.read_with_offset()?;
            if scanner.blocks.is_empty() {
                return Err(Invalid);
            }
            if scanner.reachable && breakpoint(offset) {
                scanner.safepoint(breakpoint_offset(&op, offset));
            }
            if scanner.reachable {
                scanner.measure(&op, offset, graph);
            }
            if scanner.reachable
                && matches!(op, Operator::Call { function_index } if call_checks(function_index))
            {
                scanner.event(Event::Check);
                scanner.stretch.call_checked();
            }
            scanner.operator(&op, offset, &call_stops)?;
        }
        if !scanner.blocks.is_empty() {
            return Err(Invalid);
        }
        let unchecked = unchecked_loops(&scanner.scan);
        scanner.scan.unchecked_loops =
            unchecked.into_iter().map(|number| scanner.loop_offsets[number as usize]).collect();
        let locals = locals + u64::from(scanner.scan.caught);
        scanner.scan.number_locals(locals)
    }

    /// Numbers locals by their position among those that are read; forgets the others.
    fn number_locals(mut self, locals: u64) -> Result<Self, Invalid> {
        for event in &self.events {
            if let Event::Read(local) = *event {
                self.read_locals.push(local);
            }
        }
        self.read_locals.sort_unstable();
        self.read_locals.dedup();
        if self.read_locals.last().is_some_and(|&last| u64::from(last) >= locals) {
            return Err(Invalid);
        }
        let highest = self.read_locals.last().map_or(0, |&last| last as usize + 1);
        let mut numbers = vec![None; highest];
        for (number, &local) in self.read_locals.iter().enumerate() {
            numbers[local as usize] = Some(number as u32);
        }
        self.events.retain_mut(|event| match event {
            Event::Read(local) | Event::Write(local) => match numbers.get(*local as usize) {
                Some(Some(number)) => {
                    *local = *number;
                    true
                }
                _ => false,
            },
            _ => true,
        });
        Ok(self)
    }
}

struct Scanner {
    scan: Scan,
    blocks: Vec<Block>,
    reachable: bool,
    /// Open blocks which began in code that cannot be reached.
    dead_blocks: u32,
    /// Number of open blocks that may catch exceptions.
    open_tries: u32,
    /// Number of the function's own locals.
    locals: u64,
    /// Number of `catch` and `catch_all` instructions.
    catches: u32,
    /// Code offsets of loops.
    loop_offsets: Vec<u64>,
    /// The longest way to this point.
    stretch: Stretch,
}

#[derive(Default)]
struct Block {
    kind: BlockKind,
    /// Whether the end can be reached other than by falling through.
    end_reachable: bool,
    /// The longest of these ways to the end.
    end: Stretch,
    /// The longest way to an alternative: that to the block's start.
    alternative: Stretch,
}

impl Block {
    /// There is a way to the end, if `leaves`.
    fn leave(&mut self, leaves: bool, stretch: Stretch) {
        if leaves {
            self.end_reachable = true;
            self.end = self.end.meet(stretch);
        }
    }
}

#[derive(Clone, Copy, Default)]
enum BlockKind {
    #[default]
    Block,
    Loop(u32),
    If,
    Else,
    TryTable(u32),
    Try,
    /// A part of a `try` block that handles exceptions, by number.
    Catch(u32),
}

impl Scanner {
    fn operator(
        &mut self,
        op: &Operator<'_>,
        offset: u64,
        call_stops: &dyn Fn(u32) -> bool,
    ) -> Result<(), Invalid> {
        if !self.reachable {
            if !concerns_live_block(op, &mut self.dead_blocks) {
                return Ok(());
            }
            match op {
                Operator::End => self.end()?,
                Operator::Delegate { relative_depth } => self.delegate(*relative_depth)?,
                Operator::Catch { .. } => self.catch(false)?,
                Operator::CatchAll => self.catch(true)?,
                Operator::Else => self.alternative()?,
                _ => {}
            }
            return Ok(());
        }
        match *op {
            Operator::LocalGet { local_index } => self.event(Event::Read(local_index)),
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                self.event(Event::Write(local_index));
            }
            Operator::Block { .. } => self.open(BlockKind::Block, Event::Block),
            Operator::Loop { .. } => {
                let number = self.scan.loops;
                self.scan.loops += 1;
                self.open(BlockKind::Loop(number), Event::Loop(number));
                self.loop_offsets.push(offset);
                self.safepoint(offset);
            }
            Operator::If { .. } => self.open(BlockKind::If, Event::If),
            Operator::Else => self.alternative()?,
            Operator::End => self.end()?,
            Operator::Br { relative_depth } => {
                self.branch(relative_depth)?;
                self.event(Event::Branch(relative_depth));
                self.reachable = false;
            }
            Operator::BrIf { relative_depth } => {
                self.branch(relative_depth)?;
                self.event(Event::BranchIf(relative_depth));
            }
            Operator::BrTable { ref targets } => {
                let mut depths = targets.targets().collect::<Result<Vec<_>, _>>()?;
                depths.push(targets.default());
                depths.sort_unstable();
                depths.dedup();
                for &depth in &depths {
                    self.branch(depth)?;
                }
                let start = self.scan.branch_tables.len() as u32;
                self.scan.branch_tables.extend(depths);
                self.event(Event::BranchTable(start, self.scan.branch_tables.len() as u32));
                self.reachable = false;
            }
            Operator::Return
            | Operator::Unreachable
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. } => {
                self.event(Event::Leave);
                self.reachable = false;
            }
            Operator::Call { function_index } if call_stops(function_index) => self.call(offset),
            Operator::CallIndirect { .. } | Operator::CallRef { .. } => self.call(offset),
            Operator::BrOnNull { relative_depth } | Operator::BrOnNonNull { relative_depth } => {
                self.branch(relative_depth)?;
                self.event(Event::BranchIf(relative_depth));
            }
            Operator::TryTable { ref try_table } => self.try_table(try_table)?,
            Operator::Throw { .. } | Operator::ThrowRef => self.throw(),
            Operator::Try { .. } => {
                self.open_tries += 1;
                self.open(BlockKind::Try, Event::Try);
            }
            Operator::Catch { .. } => self.catch(false)?,
            Operator::CatchAll => self.catch(true)?,
            Operator::Delegate { relative_depth } => self.delegate(relative_depth)?,
            Operator::Rethrow { relative_depth } => {
                let index = self.blocks.len().checked_sub(1 + relative_depth as usize).ok_or(Invalid)?;
                let BlockKind::Catch(number) = self.blocks[index].kind else { return Err(Invalid) };
                self.scan.caught = self.scan.caught.max(number + 1);
                let local = self.caught_local(number)?;
                self.event(Event::Read(local));
                self.throw();
            }
            _ if is_bulk(op) => self.safepoint(offset),
            _ => {}
        }
        Ok(())
    }

    /// Takes account of an instruction that is to be executed.
    fn measure(&mut self, op: &Operator<'_>, offset: u64, graph: &CallGraph) {
        if self.stretch.ends_before(op) {
            self.safepoint(breakpoint_offset(op, offset));
            self.scan.stretch_ends.push(offset);
            self.event(Event::Check);
            self.stretch.check();
        }
        if let Operator::Loop { .. } = op {
            if self.stretch.is_long() {
                self.scan.checked_loops.push(self.scan.loops);
                self.stretch.check();
            }
            self.stretch.begin_loop();
        }
        self.stretch.pass(op, graph);
    }

    fn open(&mut self, kind: BlockKind, event: Event) {
        let alternative = self.stretch;
        self.blocks.push(Block { kind, alternative, ..Block::default() });
        self.event(event);
    }

    fn try_table(&mut self, try_table: &TryTable) -> Result<(), Invalid> {
        let start = self.scan.branch_tables.len() as u32;
        let mut all = false;
        for catch in &try_table.catches {
            let (Catch::One { label, .. }
            | Catch::OneRef { label, .. }
            | Catch::All { label }
            | Catch::AllRef { label }) = *catch;
            self.branch(label)?;
            // Those behind one that catches everything never do.
            if !all {
                self.scan.branch_tables.push(label);
            }
            all |= matches!(catch, Catch::All { .. } | Catch::AllRef { .. });
        }
        let number = self.scan.tries.len() as u32;
        self.scan.tries.push(Try { targets: (start, self.scan.branch_tables.len() as u32), all });
        self.open_tries += 1;
        self.open(BlockKind::TryTable(number), Event::Try);
        Ok(())
    }

    fn throw(&mut self) {
        self.event(Event::Throw);
        self.reachable = false;
    }

    /// A call that is a safepoint.
    fn call(&mut self, offset: u64) {
        self.safepoint(offset);
        if self.open_tries > 0 {
            self.event(Event::Throwing);
        }
    }

    /// The start of a part that handles exceptions.
    fn catch(&mut self, all: bool) -> Result<(), Invalid> {
        let number = self.catches;
        self.catches += 1;
        let block = self.blocks.last_mut().ok_or(Invalid)?;
        let first = match block.kind {
            BlockKind::Try => true,
            BlockKind::Catch(_) => false,
            _ => return Err(Invalid),
        };
        block.kind = BlockKind::Catch(number);
        block.leave(self.reachable, self.stretch);
        self.reachable = true;
        // Most ways have been through a call.
        self.stretch = block.alternative.meet(self.stretch);
        if first {
            self.open_tries -= 1;
        }
        self.event(Event::Catch { first, all });
        let local = self.caught_local(number)?;
        self.event(Event::Write(local));
        Ok(())
    }

    /// The local that keeps an exception.
    fn caught_local(&self, number: u32) -> Result<u32, Invalid> {
        u32::try_from(self.locals + u64::from(number)).map_err(|_| Invalid)
    }

    fn delegate(&mut self, depth: u32) -> Result<(), Invalid> {
        let block = self.blocks.pop().ok_or(Invalid)?;
        if !matches!(block.kind, BlockKind::Try) || self.blocks.len() <= depth as usize {
            return Err(Invalid);
        }
        self.open_tries -= 1;
        self.arrive(&block);
        self.event(Event::Delegate(depth));
        Ok(())
    }

    fn alternative(&mut self) -> Result<(), Invalid> {
        let block = self.blocks.last_mut().ok_or(Invalid)?;
        if !matches!(block.kind, BlockKind::If) {
            return Err(Invalid);
        }
        block.kind = BlockKind::Else;
        block.leave(self.reachable, self.stretch);
        self.reachable = true;
        self.stretch = block.alternative;
        self.event(Event::Else);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Invalid> {
        let mut block = self.blocks.pop().ok_or(Invalid)?;
        // Without an alternative, a conditional block's end is reached when the condition is false.
        block.leave(matches!(block.kind, BlockKind::If), block.alternative);
        self.arrive(&block);
        if matches!(block.kind, BlockKind::TryTable(_) | BlockKind::Try) {
            self.open_tries -= 1;
        }
        self.event(match block.kind {
            BlockKind::Loop(number) => Event::End(number),
            BlockKind::TryTable(number) => Event::EndTry(number),
            BlockKind::Try | BlockKind::Catch(_) => Event::EndCatch,
            _ => Event::End(NO_LOOP),
        });
        Ok(())
    }

    fn branch(&mut self, depth: u32) -> Result<(), Invalid> {
        let index = self.blocks.len().checked_sub(1 + depth as usize).ok_or(Invalid)?;
        let block = &mut self.blocks[index];
        block.leave(!matches!(block.kind, BlockKind::Loop(_)), self.stretch);
        Ok(())
    }

    /// At the end of a block.
    fn arrive(&mut self, block: &Block) {
        match (self.reachable, block.end_reachable) {
            (true, true) => self.stretch = self.stretch.meet(block.end),
            (false, true) => (self.reachable, self.stretch) = (true, block.end),
            (_, false) => {}
        }
    }

    fn safepoint(&mut self, offset: u64) {
        self.event(Event::Safepoint(self.scan.safepoints.len() as u32));
        self.scan.safepoints.push(offset);
    }

    fn event(&mut self, event: Event) {
        self.scan.events.push(event);
    }
}
