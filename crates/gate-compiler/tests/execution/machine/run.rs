//! Running with stops: the program unwinds, and goes on with what it has written down.

use super::rt::COUNTER;
use super::{Code, Frame, Machine};
use gate_compiler::{Callee, FunctionMap, ResumePoint, SafepointKind, ValType, Value};
use gate_wire::context_offset;
use gate_wire::frames::FRAMES_GUARD;
use gate_wire::trap::TrapId;
use std::collections::BTreeMap;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Returned(Vec<Value>),
    Trapped(TrapId),
    /// It was given up after the greatest number of stops.
    Unfinished,
}

/// What went by in runs.
#[derive(Default)]
pub(crate) struct Coverage {
    pub(crate) stops: usize,
    pub(crate) frames: BTreeMap<(SafepointKind, String), usize>,
    pub(crate) deepest: usize,
}

impl Coverage {
    fn add(&mut self, frames: &[Frame]) {
        self.stops += 1;
        self.deepest = self.deepest.max(frames.len());
        for frame in frames {
            let safepoint = &frame.safepoint;
            let types = safepoint.locals.iter().map(|&(_, ty)| ("local", ty));
            for (place, ty) in types.chain(safepoint.operands.iter().map(|&ty| ("operand", ty))) {
                *self.frames.entry((safepoint.kind, format!("{place} {ty}"))).or_default() += 1;
            }
            *self.frames.entry((safepoint.kind, "any".into())).or_default() += 1;
        }
    }

    /// Adds what went by in other runs.
    pub(crate) fn extend(&mut self, other: Self) {
        self.stops += other.stops;
        self.deepest = self.deepest.max(other.deepest);
        for (key, count) in other.frames {
            *self.frames.entry(key).or_default() += count;
        }
    }

    /// Whether there was a value of some type, at a safepoint of some kind.
    pub(crate) fn has(&self, kind: SafepointKind, what: &str) -> bool {
        self.frames.contains_key(&(kind, what.to_owned()))
    }

    /// Prints how often there were values of which types, by kind of safepoint.
    pub(crate) fn print(&self) {
        println!("{} stops, at most {} frames", self.stops, self.deepest);
        let kinds = [
            SafepointKind::Entry,
            SafepointKind::Loop,
            SafepointKind::Call,
            SafepointKind::Instruction,
            SafepointKind::Breakpoint,
        ];
        let mut whats: Vec<_> = self.frames.keys().map(|(_, what)| what.clone()).collect();
        whats.sort_unstable();
        whats.dedup();
        print!("{:20}", "");
        for kind in kinds {
            print!("{:>12}", format!("{kind:?}"));
        }
        println!();
        for what in whats {
            print!("{what:20}");
            for kind in kinds {
                print!("{:>12}", self.frames.get(&(kind, what.clone())).unwrap_or(&0));
            }
            println!();
        }
    }
}

impl Machine {
    /// Calls an exported function. It stops after numbers of safepoints that `next` returns; then it goes on with the next of `codes`,
    /// which are compiled from the module of the machine.
    pub(crate) fn run(
        &mut self,
        codes: &[&Code],
        name: &str,
        args: &[Value],
        mut next: impl FnMut(&mut Self) -> Option<u64>,
        most_stops: usize,
        coverage: &mut Coverage,
    ) -> Outcome {
        let function = self.function(name);
        self.set_arguments(args);
        let mut offset = codes[0].trampoline(function, false);
        let mut again = 0;
        for stops in 0..=most_stops {
            let code = codes[stops % codes.len()];
            let count = next(self);
            self.arm(count.map(|count| count + again));
            if let Err(address) = self.enter(code.address(offset)) {
                self.trapped = address;
                return Outcome::Trapped(code.trap(address));
            }
            if self.read::<u32>(context_offset!(unwinding)) == 0 {
                return Outcome::Returned(self.results(function));
            }
            let frames = self.frames();
            check_stack(code, &frames, function);
            coverage.add(&frames);
            // Loops' headers are checked again; host calls are interrupted before they are made.
            let innermost = &frames[0].safepoint;
            let imported = innermost.function < code.module.info.imported_functions;
            again = u64::from(innermost.kind == SafepointKind::Loop || imported);
            let code = codes[(stops + 1) % codes.len()];
            self.set_frames(code, &frames);
            offset = code.trampoline(function, true);
        }
        Outcome::Unfinished
    }

    /// Calls an exported function of the machine's own code.
    pub(crate) fn run_uninterrupted(&mut self, name: &str, args: &[Value]) -> Outcome {
        let function = self.function(name);
        self.set_arguments(args);
        self.arm(None);
        match self.enter(self.code.address(self.code.trampoline(function, false))) {
            Ok(()) => Outcome::Returned(self.results(function)),
            Err(address) => Outcome::Trapped(self.code.trap(address)),
        }
    }

    /// The additional map of the function that trapped, if it was a resume body.
    pub(crate) fn trapped_in(&self, code: &Code) -> Option<FunctionMap> {
        let offset = code.text_offset(self.trapped)?;
        let mut functions = code.resume.as_ref()?.maps.functions.iter();
        functions.find(|map| (map.text_offset..map.text_offset + map.text_size).contains(&offset)).cloned()
    }

    /// Has the program stop after so many safepoints.
    fn arm(&mut self, counter: Option<u64>) {
        self.reset();
        self.write(COUNTER, counter.unwrap_or(1));
        if counter.is_some() {
            self.stop().request();
        }
    }

    fn set_frames(&mut self, code: &Code, frames: &[Frame]) {
        self.resume.clear();
        for frame in frames.iter().rev() {
            let point =
                ResumePoint { function: frame.safepoint.function, code_offset: frame.safepoint.code_offset };
            self.resume.extend(code.word(point).to_le_bytes());
            for value in frame.locals.iter().chain(&frame.operands) {
                let mut slot = value.to_slot();
                if value.ty().slot_size() == 8 && !matches!(value.ty(), ValType::I64 | ValType::F64) {
                    // The rest of a slot does not matter.
                    slot |= 0xdead_beef << 32;
                }
                self.resume.extend(&slot.to_le_bytes()[..value.ty().slot_size() as usize]);
            }
        }
        let address = self.resume.as_ptr() as u64;
        self.write(context_offset!(resume_next), address);
    }
}

/// Checks that frames fit together.
fn check_stack(code: &Code, frames: &[Frame], outermost: u32) {
    let module = &code.module;
    let tail_calls = |function: u32| {
        let index = function.checked_sub(module.info.imported_functions);
        index.is_some_and(|index| module.maps.functions[index as usize].tail_calls)
    };
    // A function that ends in a tail call has left its place to another one.
    let results = |function: u32| &module.info.functions[function as usize].results;
    let returns_for =
        |function, called| function == called || tail_calls(called) && results(function) == results(called);
    assert!(returns_for(frames.last().unwrap().safepoint.function, outermost));
    for (index, frame) in frames.iter().enumerate() {
        let safepoint = &frame.safepoint;
        assert_eq!(index > 0, safepoint.kind == SafepointKind::Call);
        assert_eq!(index > 0, safepoint.callee.is_some());
        let callee = index.checked_sub(1).map(|inner| frames[inner].safepoint.function);
        match safepoint.callee {
            Some(Callee::Function(function)) => assert!(returns_for(callee.unwrap(), function)),
            Some(Callee::Signature(signature)) => {
                let signature = &module.maps.signatures[signature as usize];
                let functions = &module.info.functions;
                let mut called = (0..functions.len()).filter(|&called| functions[called] == *signature);
                assert!(called.any(|called| returns_for(callee.unwrap(), called as u32)));
            }
            None => {}
        }
        let size: u32 = frame.locals.iter().chain(&frame.operands).map(|value| value.ty().slot_size()).sum();
        assert!(u64::from(8 + size) <= FRAMES_GUARD);
    }
}
