//! What a processor executes because it has guessed wrong is within bounds, too.

use gate_compiler::{Options, Target, WasiImports, compile, fingerprint, write_listing};

/// The instructions of the first function that is not imported.
fn instructions(wat: &str, target: Target) -> Vec<String> {
    let options = Options { target, ..Options::default() };
    let module = compile(&wat::parse_str(wat).unwrap(), &options, &WasiImports).unwrap();
    let mut listing = String::new();
    write_listing(&module, &options, &mut listing).unwrap();
    let function = listing.split("; function ").nth(1).unwrap();
    function.lines().skip(1).filter(|line| !line.trim().starts_with(';')).map(Into::into).collect()
}

/// What reads or writes at an index that a program has computed, with a table that grows and one that does not.
const ACCESSES: [(&str, &str); 8] = [
    ("table.get", "(table 5 9 funcref) (func (param i32) (result funcref) (table.get (local.get 0)))"),
    ("table.get", "(table 5 5 funcref) (func (param i32) (result funcref) (table.get (local.get 0)))"),
    ("table.set", "(table 5 9 funcref) (func (param i32) (table.set (local.get 0) (ref.null func)))"),
    ("table.set", "(table 5 5 externref) (func (param i32) (table.set (local.get 0) (ref.null extern)))"),
    ("call_indirect", "(table 5 9 funcref) (func (param i32) (call_indirect (local.get 0)))"),
    ("call_indirect", "(table 5 5 funcref) (func (param i32) (call_indirect (local.get 0)))"),
    (
        "br_table",
        "(func (param i32) (result i32) (block (block (block (block (br_table 0 1 2 3 2 1 0 (local.get 0)))
            (return (i32.const 5))) (return (i32.const 6))) (return (i32.const 7))) (i32.const 8))",
    ),
    (
        "call_indirect in a loop",
        "(table 5 9 funcref) (func (param i32) (loop (call_indirect (local.get 0))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))",
    ),
];

#[test]
fn indices_are_clamped_behind_their_checks() {
    for (target, select) in [(Target::X86_64, "cmov"), (Target::Aarch64, "csel")] {
        for (what, text) in ACCESSES {
            let instructions = instructions(&format!("(module {text})"), target);
            let clamped = instructions.iter().any(|instruction| instruction.contains(select));
            assert!(clamped, "{what} for {target:?}:\n{}", instructions.join("\n"));
        }
    }
}

/// A 32-bit address and a 32-bit offset cannot leave a memory's reservation: nothing is checked, so nothing is guessed.
#[test]
fn memory_accesses_have_no_branches() {
    let text =
        "(module (memory 1) (func (param i32) (result i32) (i32.load offset=0xffffffff (local.get 0))))";
    for (target, branches) in
        [(Target::X86_64, ["ja", "jb", "je", "jne"]), (Target::Aarch64, ["b.", "cb", "tb", "br"])]
    {
        let instructions = instructions(text, target);
        let jumps = instructions.iter().any(|line| {
            let mnemonic = line.split_whitespace().nth(1).unwrap_or_default();
            branches.iter().any(|branch| mnemonic.starts_with(branch))
        });
        assert!(!jumps, "{}", instructions.join("\n"));
    }
}

#[test]
fn the_code_generator_does_what_it_can() {
    let fingerprint = fingerprint(&Options::default()).unwrap();
    for setting in ["enable_heap_access_spectre_mitigation", "enable_table_access_spectre_mitigation"] {
        let line = fingerprint.lines().find(|line| line.contains(setting)).expect(setting);
        assert!(line.contains("true") || line.ends_with('1'), "{line}");
    }
}
