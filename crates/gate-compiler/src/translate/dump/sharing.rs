//! What dumps have in common.

use super::{DUMPS_PER_LEAVE, Dump, SizedSlot};
use cranelift_codegen::ir::DataFlowGraph;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;

/// So many values in a row at least are a tail. It takes a few instructions to go there.
const MIN_TAIL: usize = 5;

/// With how many other dumps and tails a dump is compared.
const COMPARED: usize = 8;

/// Dumps (by index) that store the same locals, and operands of the same types. Each is in one group, of a limited size.
pub(super) fn groups(dumps: &[Dump], dfg: &DataFlowGraph) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut last = HashMap::new();
    for (index, dump) in dumps.iter().enumerate() {
        let types: Vec<_> = dump.slots.iter().map(|&(value, _)| dfg.value_type(value)).collect();
        let group = last.entry((&dump.locals, types)).or_insert(groups.len());
        match groups.get_mut(*group).filter(|group| group.len() < DUMPS_PER_LEAVE) {
            Some(group) => group.push(index),
            None => {
                *group = groups.len();
                groups.push(vec![index]);
            }
        }
    }
    groups
}

/// Runs of values that several dumps store.
pub(super) struct Tails<'a> {
    dumps: Vec<&'a [SizedSlot]>,
    /// Of each dump the run that a tail stores, and the tail.
    runs: Vec<Option<(Range<usize>, usize)>>,
    tails: Vec<Tail<'a>>,
}

struct Tail<'a> {
    slots: &'a [SizedSlot],
    users: usize,
}

/// What a dump is compared with.
#[derive(Clone, Copy)]
enum Candidate {
    /// A dump without a tail.
    Dump(usize),
    Tail(usize),
}

impl<'a> Tails<'a> {
    /// Looks for runs in dumps, given what these store.
    pub(super) fn new(dumps: Vec<&'a [SizedSlot]>) -> Self {
        let mut tails = Self { runs: vec![None; dumps.len()], dumps, tails: Vec::new() };
        let mut positions = Positions::default();
        let mut recent: VecDeque<Candidate> = VecDeque::new();
        for index in 0..tails.dumps.len() {
            if tails.dumps[index].len() >= MIN_TAIL {
                tails.look_for_run(index, &mut positions, &mut recent);
                recent.truncate(COMPARED);
            }
        }
        tails
    }

    /// What each tail stores.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'a [SizedSlot]> {
        self.tails.iter().map(|tail| tail.slots)
    }

    /// The run of a dump's values which a tail stores, and the tail.
    pub(super) fn of(&self, dump: usize) -> Option<(Range<usize>, usize)> {
        self.runs[dump].clone()
    }

    fn look_for_run(&mut self, index: usize, positions: &mut Positions, recent: &mut VecDeque<Candidate>) {
        let slots = self.dumps[index];
        positions.set(slots);
        let runs = recent.iter().enumerate().map(|(place, &candidate)| match candidate {
            // Looking through one that is much larger would take long for what there is to gain.
            Candidate::Dump(other) if self.dumps[other].len() / 4 > slots.len() => (place, (0..0, 0..0)),
            Candidate::Dump(other) => (place, positions.longest_run(slots, self.dumps[other])),
            Candidate::Tail(tail) => {
                let Tail { slots: whole, users } = &self.tails[tail];
                if *users == DUMPS_PER_LEAVE || whole.len() > slots.len() {
                    return (place, (0..0, 0..0));
                }
                let (run, theirs) = positions.longest_run(slots, whole);
                (place, if run.len() == whole.len() { (run, theirs) } else { (0..0, 0..0) })
            }
        });
        let best = runs.max_by_key(|(place, (run, _))| (run.len(), std::cmp::Reverse(*place)));
        let Some((place, (run, theirs))) = best.filter(|(_, (run, _))| run.len() >= MIN_TAIL) else {
            recent.push_front(Candidate::Dump(index));
            return;
        };
        let tail = match recent.remove(place).expect("it has been compared") {
            Candidate::Tail(tail) => tail,
            Candidate::Dump(other) => {
                self.tails.push(Tail { slots: &self.dumps[other][theirs.clone()], users: 1 });
                self.runs[other] = Some((theirs, self.tails.len() - 1));
                self.tails.len() - 1
            }
        };
        self.tails[tail].users += 1;
        self.runs[index] = Some((run, tail));
        recent.push_front(Candidate::Tail(tail));
    }
}

/// Where values are in a dump.
#[derive(Default)]
struct Positions(HashMap<SizedSlot, usize>);

impl Positions {
    fn set(&mut self, slots: &[SizedSlot]) {
        self.0.clear();
        self.0.extend(slots.iter().enumerate().map(|(position, &slot)| (slot, position)));
    }

    /// The longest run that the dump has in common with others: where in the dump, and where there.
    fn longest_run(&self, slots: &[SizedSlot], others: &[SizedSlot]) -> (Range<usize>, Range<usize>) {
        let mut best = (0..0, 0..0);
        let mut next = 0;
        while next < others.len() {
            let start = next;
            next += 1;
            let Some(&position) = self.0.get(&others[start]) else { continue };
            while next < others.len() && slots.get(position + next - start) == Some(&others[next]) {
                next += 1;
            }
            if next - start > best.1.len() {
                best = (position..position + next - start, start..next);
            }
        }
        best
    }
}
