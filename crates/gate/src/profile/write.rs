//! Formats of profiles.

use super::stacks::Stacks;
use gate_image::Program;
use serde::Serialize;
use std::collections::HashMap;
use std::io::{self, Write};

/// Writes collapsed stacks: in each line the functions, outermost first, between semicolons, and the number of samples. Tools that
/// draw flame graphs read that.
pub(super) fn collapsed(stacks: &Stacks, program: &Program, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut names = Names { program, known: HashMap::new() };
    for node in stacks.nodes().iter().filter(|node| node.count > 0) {
        let mut functions = vec![node.function];
        let mut caller = node.caller;
        while let Some(index) = caller {
            let node = &stacks.nodes()[index as usize];
            functions.push(node.function);
            caller = node.caller;
        }
        for (index, &function) in functions.iter().rev().enumerate() {
            let separator = if index > 0 { ";" } else { "" };
            write!(out, "{separator}{}", names.get(function)?.replace(';', ","))?;
        }
        writeln!(out, " {}", node.count)?;
    }
    Ok(())
}

/// Writes a profile in the format of V8, as Chrome's developer tools load it.
pub(super) fn cpu_profile(stacks: &Stacks, program: &Program, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut names = Names { program, known: HashMap::new() };
    // The first one is what everything is called from, and has no function.
    let root = Node { id: 1, call_frame: CallFrame::new("(root)"), hit_count: 0, children: Vec::new() };
    let mut nodes = vec![root];
    for (index, node) in stacks.nodes().iter().enumerate() {
        let id = index as u32 + 2;
        let call_frame = CallFrame::new(names.get(node.function)?);
        nodes.push(Node { id, call_frame, hit_count: node.count, children: Vec::new() });
        nodes[node.caller.map_or(0, |caller| caller as usize + 1)].children.push(id);
    }
    let micros = |time: u64| time / 1000;
    let start_time = stacks.samples().first().map_or(0, |&(time, _)| micros(time));
    let mut profile =
        CpuProfile { nodes, start_time, end_time: start_time, samples: Vec::new(), time_deltas: Vec::new() };
    for &(time, stack) in stacks.samples() {
        // The program's process may say what it likes; the format wants an order.
        let time = micros(time).max(profile.end_time);
        profile.samples.push(stack + 2);
        profile.time_deltas.push(time - profile.end_time);
        profile.end_time = time;
    }
    serde_json::to_writer(out, &profile).map_err(io::Error::from)?;
    Ok(())
}

/// The format's names, in the order of its description in the developer tools' protocol. Times are in microseconds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CpuProfile {
    nodes: Vec<Node>,
    start_time: u64,
    end_time: u64,
    samples: Vec<u32>,
    time_deltas: Vec<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    id: u32,
    call_frame: CallFrame,
    hit_count: u64,
    children: Vec<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallFrame {
    function_name: String,
    script_id: &'static str,
    url: &'static str,
    line_number: i32,
    column_number: i32,
}

impl CallFrame {
    fn new(function: &str) -> Self {
        Self { function_name: function.into(), script_id: "0", url: "", line_number: -1, column_number: -1 }
    }
}

/// Names of functions.
struct Names<'a> {
    program: &'a Program,
    known: HashMap<u32, String>,
}

impl Names<'_> {
    fn get(&mut self, function: u32) -> anyhow::Result<&str> {
        if !self.known.contains_key(&function) {
            self.known.insert(function, self.program.function_name(function)?);
        }
        Ok(&self.known[&function])
    }
}
