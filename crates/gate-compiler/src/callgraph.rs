//! Finds out which functions can do without checks.

use crate::breakpoints::{Breakpoints, is_bulk};
use crate::compiled::Maps;
use crate::module::{Body, Module};
use rayon::prelude::*;
use wasmparser::{FunctionBody, Operator};

/// What each function needs, by function index.
#[derive(Default)]
pub(crate) struct CallGraph {
    functions: Vec<Needs>,
}

#[derive(Clone, Copy)]
struct Needs {
    safepoint: bool,
    entry_check: bool,
    /// Greatest number of instructions that it executes before its first check, callees' included.
    unchecked: u32,
}

impl Needs {
    /// Host calls can be interrupted.
    const IMPORTED: Self = Self { safepoint: true, entry_check: false, unchecked: 1 };
}

/// Number of instructions that may be executed in a row without a check, callees' included. Some ten microseconds.
pub(crate) const LIGHT_INSTRUCTIONS: u32 = 4096;

/// Depth of a chain of calls without checks. With frames of at most
/// [`SMALL_FRAME`](gate_wire::context::SMALL_FRAME) each, they leave most of
/// [`STACK_RESERVE`](gate_wire::context::STACK_RESERVE) to rt.
const LIGHT_DEPTH: u32 = 4;

impl CallGraph {
    pub(crate) fn new(module: &Module<'_>, breakpoints: Breakpoints<'_>) -> Self {
        let summarise = |body: &Body<'_>| {
            let mut summary = Summary::new(&body.body);
            summary.heavy |= breakpoints.any_within(body.body.range());
            summary
        };
        let summaries: Vec<_> = module.bodies.par_iter().map(summarise).collect();
        let light = light_functions(&summaries, module.imported_functions());
        let imported = module.imports.iter().map(|_| Needs::IMPORTED);
        let is_light = |&function: &u32| {
            let index = function.checked_sub(module.imported_functions());
            index.is_some_and(|index| light.get(index as usize).is_some_and(Option::is_some))
        };
        let defined = summaries.iter().zip(&light).map(|(summary, light)| {
            if let &Some(instructions) = light {
                return Needs { safepoint: false, entry_check: false, unchecked: instructions };
            }
            let calls_heavy = summary.calls_indirectly || !summary.callees.iter().all(is_light);
            let entry_check = calls_heavy || summary.works || summary.instructions > LIGHT_INSTRUCTIONS;
            // If it calls what takes longer, it has checks in between.
            let unchecked = if entry_check { 1 } else { summary.instructions };
            Needs { safepoint: true, entry_check, unchecked }
        });
        Self { functions: imported.chain(defined).collect() }
    }

    /// The same as was found out when the module was compiled.
    pub(crate) fn from_maps(module: &Module<'_>, maps: &Maps) -> Self {
        let imported = module.imports.iter().map(|_| Needs::IMPORTED);
        let defined = maps.functions.iter().map(|function| Needs {
            safepoint: function.can_stop,
            entry_check: function.entry_check,
            unchecked: function.unchecked_instructions,
        });
        Self { functions: imported.chain(defined).collect() }
    }

    /// Whether a call of the function can be a place where the program stops.
    pub(crate) fn reaches_safepoint(&self, function: u32) -> bool {
        // Invalid code may call a function that there is not.
        self.functions.get(function as usize).is_none_or(|needs| needs.safepoint)
    }

    /// Greatest number of instructions that a call of the function executes before there is a check.
    pub(crate) fn unchecked_instructions(&self, function: u32) -> u32 {
        self.functions.get(function as usize).map_or(1, |needs| needs.unchecked)
    }

    /// Whether the function needs a check at its entry.
    pub(crate) fn needs_entry_check(&self, function: u32) -> bool {
        self.functions.get(function as usize).is_some_and(|needs| needs.entry_check)
    }
}

/// What a function does, as far as it matters here.
#[derive(Default)]
struct Summary {
    /// Number of instructions, or more than [`LIGHT_INSTRUCTIONS`].
    instructions: u32,
    /// Whether it can stop by itself, or run for long.
    heavy: bool,
    /// Whether it has instructions that take as long as many.
    works: bool,
    /// Whether it calls functions that are not known.
    calls_indirectly: bool,
    /// Functions that it calls, unless it has more than [`LIGHT_INSTRUCTIONS`].
    callees: Vec<u32>,
}

impl Summary {
    /// Looks at code that need not be valid.
    fn new(body: &FunctionBody<'_>) -> Self {
        let mut summary = Self::default();
        if summary.scan(body).is_err() {
            summary.heavy = true;
        }
        summary
    }

    fn scan(&mut self, body: &FunctionBody<'_>) -> Result<(), wasmparser::Error> {
        let mut reader = body.get_operators_reader()?;
        while !reader.eof() && self.instructions <= LIGHT_INSTRUCTIONS {
            self.instructions += 1;
            match reader.read()? {
                // A tail call is a call here: what the callee needs, the caller needs, and callers of the caller. A cycle of tail calls
                // never becomes light, like one of calls; so each function in it has a check at its entry.
                Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                    self.callees.push(function_index);
                }
                Operator::CallIndirect { .. }
                | Operator::CallRef { .. }
                | Operator::ReturnCallIndirect { .. }
                | Operator::ReturnCallRef { .. } => {
                    self.calls_indirectly = true;
                    self.heavy = true;
                }
                Operator::Loop { .. } => self.heavy = true,
                // A table can grow by millions of elements.
                Operator::TableGrow { .. } => (self.heavy, self.works) = (true, true),
                // Callers look whether the function has thrown an exception where they look whether it has stopped.
                Operator::Throw { .. } | Operator::ThrowRef | Operator::Rethrow { .. } => self.heavy = true,
                op if is_bulk(&op) => (self.heavy, self.works) = (true, true),
                _ => {}
            }
        }
        self.heavy |= self.instructions > LIGHT_INSTRUCTIONS;
        Ok(())
    }
}

/// Cost of calling a light function.
#[derive(Clone, Copy)]
struct Cost {
    instructions: u32,
    depth: u32,
}

/// Which functions end soon, without having called one that may not: from the leaves of the call graph up. And after how many
/// instructions at the latest.
fn light_functions(summaries: &[Summary], imported: u32) -> Vec<Option<u32>> {
    let defined =
        |callee: &u32| callee.checked_sub(imported).filter(|&index| (index as usize) < summaries.len());

    let mut callers: Vec<Vec<u32>> = vec![Vec::new(); summaries.len()];
    let mut unknown = vec![0_usize; summaries.len()];
    let mut ready = Vec::new();
    for (caller, summary) in summaries.iter().enumerate().filter(|(_, summary)| !summary.heavy) {
        for callee in summary.callees.iter().filter_map(defined) {
            callers[callee as usize].push(caller as u32);
        }
        unknown[caller] = summary.callees.len();
        if summary.callees.is_empty() {
            ready.push(caller as u32);
        }
    }

    // Heavy functions, imported ones and cycles never become ready.
    let mut costs: Vec<Option<Cost>> = vec![None; summaries.len()];
    while let Some(function) = ready.pop() {
        let summary = &summaries[function as usize];
        let mut cost = Cost { instructions: summary.instructions, depth: 1 };
        for callee in summary.callees.iter().filter_map(defined) {
            let Some(callee) = costs[callee as usize] else { continue };
            cost.instructions = cost.instructions.saturating_add(callee.instructions);
            cost.depth = cost.depth.max(callee.depth + 1);
        }
        if cost.instructions > LIGHT_INSTRUCTIONS || cost.depth > LIGHT_DEPTH {
            continue;
        }
        costs[function as usize] = Some(cost);
        for &caller in &callers[function as usize] {
            unknown[caller as usize] -= 1;
            if unknown[caller as usize] == 0 {
                ready.push(caller);
            }
        }
    }
    costs.iter().map(|cost| cost.map(|cost| cost.instructions)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, WasiImports};
    use std::collections::BTreeSet;

    fn graph(wat: &str) -> CallGraph {
        let wasm = wat::parse_str(wat).unwrap();
        let module = Module::parse(&wasm, &Options::default(), &WasiImports).unwrap();
        CallGraph::new(&module, Breakpoints::new(&BTreeSet::new()))
    }

    #[test]
    fn what_can_stop_is_checked() {
        let graph = graph(
            r#"(module
                (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
                (table 1 funcref) (memory 1)
                (func $leaf)
                (func $parent call $leaf call $leaf)
                (func $loop (loop))
                (func $calls_loop call $loop)
                (func $recursive call $recursive)
                (func $even call $odd) (func $odd call $even)
                (func $indirect (call_indirect (i32.const 0)))
                (func $host (drop (call 0)))
                (func $bulk (memory.fill (i32.const 0) (i32.const 0) (i32.const 0)))
                (func $loop_of_leaves (loop (call $leaf) (br 0))))"#,
        );
        let reaches: Vec<_> = (0..12).filter(|&function| graph.reaches_safepoint(function)).collect();
        assert_eq!(reaches, [0, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        let checked: Vec<_> = (0..12).filter(|&function| graph.needs_entry_check(function)).collect();
        assert_eq!(checked, [4, 5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn tail_calls_are_calls() {
        let graph = graph(
            r#"(module
                (import "wasi_snapshot_preview1" "sched_yield" (func $host (result i32)))
                (table 1 funcref)
                (func $leaf)
                (func $parent return_call $leaf)
                (func $itself return_call $itself)
                (func $even return_call $odd) (func $odd return_call $even)
                (func $to_even return_call $even)
                (func $to_host (result i32) return_call $host)
                (func $indirect (return_call_indirect (i32.const 0)))
                (func $calls_to_even call $to_even))"#,
        );
        let reaches: Vec<_> = (0..10).filter(|&function| graph.reaches_safepoint(function)).collect();
        assert_eq!(reaches, [0, 3, 4, 5, 6, 7, 8, 9]);
        let checked: Vec<_> = (0..10).filter(|&function| graph.needs_entry_check(function)).collect();
        assert_eq!(checked, [3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn chains_without_checks_are_short_and_light() {
        let chain: String = (0..10).map(|callee| format!("(func call {callee})")).collect();
        let chain = graph(&format!("(module (func) {chain})"));
        let light: Vec<_> = (0..11).filter(|&function| !chain.reaches_safepoint(function)).collect();
        assert_eq!(light, [0, 1, 2, 3]);
        let heavy = graph(&format!("(module (func {}) (func call 0))", "nop ".repeat(5000)));
        assert!(heavy.needs_entry_check(0) && heavy.reaches_safepoint(1) && heavy.needs_entry_check(1));
        // A thousand calls of a function of a hundred instructions.
        let wide = format!("(module (func {}) (func {}))", "nop ".repeat(100), "call 0 ".repeat(1000));
        assert!(!graph(&wide).reaches_safepoint(0) && graph(&wide).reaches_safepoint(1));
    }
}
