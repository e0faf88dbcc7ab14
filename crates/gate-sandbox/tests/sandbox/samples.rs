//! Samples of where a program is, and text in two files.

use crate::container::{Container, memfd};
use crate::machine_code;
use crate::program::{Program, random_addr};
use gate_wire::PAGE_SIZE;
use gate_wire::load::LoadFailure;
use gate_wire::samples::{MAX_ADDRESSES, SAMPLES_OFFSET, WORDS, WORDS_OFFSET};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Turns of a loop that take some tenths of a second.
const TURNS: u64 = 400_000_000;

machine_code! {
    // Counts down from the number in the memory, in a function that another one calls, with the frame pointer which is in
    // the memory unless that is zero.
    spin:
        "push rbp",
        "mov rbp, rsp",
        "call 2f",
        "pop rbp",
        "ret",
        "2:",
        "push rbp",
        "mov rbp, rsp",
        "mov rcx, [rdi]",
        "mov rax, [rdi + 8]",
        "test rax, rax",
        "jz 3f",
        "mov rbp, rax",
        "3: dec rcx",
        "jnz 3b",
        "mov rbp, rsp",
        "pop rbp",
        "ret";
}

fn sampled(turns: u64, frame_pointer: u64) -> Program {
    let mut program = Program::new(spin());
    program.request.samples_addr = random_addr(3);
    program.request.sample_interval = 1_000_000;
    program.write_memory(0, &[turns, frame_pointer].map(u64::to_le_bytes).concat());
    program
}

/// Addresses of each sample, as offsets in the text.
fn samples(program: &Program) -> Vec<Vec<u64>> {
    let word = |offset| {
        let mut word = [0; 8];
        program.state.read_exact_at(&mut word, SAMPLES_OFFSET + offset).unwrap();
        u64::from_le_bytes(word)
    };
    let count = word(0);
    assert!(count < WORDS);
    let words: Vec<_> = (0..count).map(|index| word(WORDS_OFFSET + 8 * index)).collect();
    let (mut rest, mut samples, mut last) = (&words[..], Vec::new(), 0);
    while let [count, time, after @ ..] = rest {
        assert!((1..=MAX_ADDRESSES).contains(count) && *time >= last);
        let (addresses, after) = after.split_at(*count as usize);
        samples.push(addresses.iter().map(|address| address - program.request.text_addr).collect());
        (rest, last) = (after, *time);
    }
    samples
}

#[test]
fn a_program_is_interrupted_and_its_callers_are_found() {
    let mut container = Container::new();
    let program = sampled(TURNS, 0);
    program.run_to_return(&mut container);
    let samples = samples(&program);
    assert!(samples.len() >= 3, "{samples:?}");
    let size = spin().len() as u64;
    for sample in &samples {
        assert_eq!(sample.len(), 2, "{samples:?}");
        assert!(sample.iter().all(|&offset| offset < size), "{samples:?}");
    }
}

#[test]
fn frame_pointers_are_not_believed() {
    let mut container = Container::new();
    let layout = Program::new(spin());
    let stack_end = layout.request.state_addr + layout.request.stack_size;
    for frame_pointer in
        [1, 8, u64::MAX, u64::MAX - 7, u64::MAX - 15, stack_end, stack_end - 8, stack_end - 15]
    {
        let mut program = sampled(TURNS / 4, frame_pointer);
        program.request.state_addr = layout.request.state_addr;
        program.run_to_return(&mut container);
        let samples = samples(&program);
        assert!(!samples.is_empty() && samples.iter().all(|sample| sample.len() == 1), "{samples:?}");
    }
}

#[test]
fn no_samples_are_taken_unless_asked_for() {
    let mut program = sampled(TURNS / 4, 0);
    program.request.sample_interval = 0;
    program.run_to_return(&mut Container::new());
    assert_eq!(samples(&program).len(), 0);
    program.request.sample_interval = 1;
    program.request.samples_addr = 4096;
    assert_eq!(program.run_to_failure(&mut Container::new()), LoadFailure::InvalidRequest);
    program.request.samples_addr = program.request.state_addr;
    assert_eq!(program.run_to_failure(&mut Container::new()), LoadFailure::MapSamples);
}

#[test]
fn text_can_be_in_two_files() {
    let mut container = Container::new();
    let mut program = Program::new(&[0xcc]);
    let mut extension = spin().to_vec();
    extension.resize(PAGE_SIZE as usize, 0xcc);
    program.extension = Some(File::from(memfd(c"extension", &extension)));
    program.request.extension_size = PAGE_SIZE;
    program.request.text_size = 2 * PAGE_SIZE;
    program.request.entry = PAGE_SIZE;
    program.write_memory(0, &1u64.to_le_bytes());
    program.run_to_return(&mut container);
    // Something must be left for the first one.
    program.request.text_size = PAGE_SIZE;
    assert_eq!(program.run_to_failure(&mut container), LoadFailure::InvalidRequest);
    program.request.text_size = 2 * PAGE_SIZE;
    program.extension = None;
    assert_eq!(program.run_to_failure(&mut container), LoadFailure::MissingDescriptors);
}
