//! Programs that do their best not to stop.

/// Names, and modules in text form with an exported function `run` that does not end. Those without loops are so many times longer
/// than they need to be to show anything.
pub(crate) fn programs(length: usize) -> Vec<(&'static str, String)> {
    let memory = "(memory 4096 8192)";
    let function = |body: &str| format!("(module {memory} (func (export \"run\") {body}))");
    // For the compiler, what is divided may be anything.
    let division = "(local.set 0 (i64.div_u (i64.or (local.get 0) (i64.const 0x7000000000000000)) (i64.or (local.get 0) (i64.const 3))))";
    let divisions =
        |count| format!("(func $divide (param i64) (result i64) {} (local.get 0))", division.repeat(count));
    let endless = |body: &str| format!("(loop {body} (br 0))");
    let touch: String = (0..3900)
        .map(|page| format!("(i32.store offset={} (local.get 0) (i32.const 1))", page * 4096))
        .collect();
    let targets = "0 ".repeat(2000);
    let fill = "(memory.fill (i32.const 0) (i32.const 7) (i32.const 0x10000000))";
    vec![
        ("an empty loop", function(&endless(""))),
        ("nested loops", function(&format!("{}{}{}", "(loop ".repeat(200), "(br 199)", ")".repeat(200)))),
        (
            "a loop over a branch table",
            function(&format!(
                "(local i32) (loop (local.set 0 (i32.add (local.get 0) (i32.const 1))) (br_table {targets} (local.get 0)))"
            )),
        ),
        (
            "a loop of vector instructions",
            function(&format!(
                "(local v128) {}",
                endless(&"(local.set 0 (f64x2.sqrt (f64x2.div (local.get 0) (v128.const f64x2 3 7))))".repeat(1000))
            )),
        ),
        (
            "a loop of float divisions and roots",
            function(&format!(
                "(local f64) {}",
                endless(&"(local.set 0 (f64.sqrt (f64.div (local.get 0) (f64.const 3))))".repeat(1000))
            )),
        ),
        (
            "a loop around leaf functions",
            format!(
                "(module {} (func (export \"run\") (local i64) (loop {} (br 0))))",
                divisions(480),
                "(local.set 0 (call $divide (local.get 0)))".repeat(500)
            ),
        ),
        (
            "leaf functions in a row, by recursion",
            format!(
                "(module {} (func $run (export \"run\") {} (call $run) (call $run)))",
                divisions(480),
                "(drop (call $divide (i64.const 5)))".repeat(2000)
            ),
        ),
        (
            "four leaf functions deep",
            format!(
                "(module {} (func $a {}) (func $b {}) (func $c (call $b)) (func (export \"run\") (loop {} (br 0))))",
                divisions(50),
                "(drop (call $divide (i64.const 5)))".repeat(3),
                "(call $a)".repeat(2),
                "(call $c)".repeat(500)
            ),
        ),
        (
            "straight divisions",
            format!("(module {} (func (export \"run\") (loop (drop (call $divide (i64.const 9))) (br 0))))", divisions(10_000 * length)),
        ),
        (
            "straight calls",
            format!(
                "(module (func $leaf {}) (func $all {}) (func (export \"run\") (loop (call $all) (br 0))))",
                "(drop (f64.sqrt (f64.const 2)))".repeat(1000),
                "(call $leaf)".repeat(10_000 * length)
            ),
        ),
        (
            "memory that is touched for the first time",
            format!(
                "(module {memory} (func $touch (param i32) {touch})
                    (func (export \"run\") (local i32)
                        (loop (call $touch (local.get 0))
                            (local.set 0 (i32.and (i32.add (local.get 0) (i32.const 0x1000000)) (i32.const 0xeffffff))) (br 0))))"
            ),
        ),
        ("filling memory", function(&endless(fill))),
        ("filling memory in a row", function(&format!("{} {}", fill.repeat(300), endless("")))),
        (
            "small fills in a row",
            function(&endless(&"(memory.fill (i32.const 0) (i32.const 7) (i32.const 0x100000))".repeat(3000))),
        ),
        (
            "small fills between loops that are none",
            function(&endless(
                &"(memory.fill (i32.const 0) (i32.const 7) (i32.const 0x100000)) (loop)".repeat(3000),
            )),
        ),
        (
            "small fills that skip loops",
            function(&endless(
                &"(if (i32.const 1) (then (memory.fill (i32.const 0) (i32.const 7) (i32.const 0x100000)))
                    (else (loop)))"
                    .repeat(3000),
            )),
        ),
        (
            "calls of functions that fill",
            format!(
                "(module {memory} (func $fill (memory.fill (i32.const 0) (i32.const 7) (i32.const 0x100000)))
                    (func (export \"run\") {}))",
                endless(&"(call $fill)".repeat(3000))
            ),
        ),
        (
            "copying memory onto itself",
            function(&endless(&"(memory.copy (i32.const 1) (i32.const 0) (i32.const 0xfffffff))".repeat(3))),
        ),
        (
            "initialising memory",
            format!(
                "(module {memory} (data $d \"{}\") (func (export \"run\") (loop {} (br 0))))",
                "x".repeat(1 << 20),
                "(memory.init $d (i32.const 5) (i32.const 0) (i32.const 0x100000))".repeat(100)
            ),
        ),
        (
            "filling and copying tables",
            format!(
                "(module (table 1000000 funcref) (elem declare func 0) (func (export \"run\") (loop {} {} (br 0))))",
                "(table.fill 0 (i32.const 0) (ref.func 0) (i32.const 1000000))".repeat(10),
                "(table.copy 0 0 (i32.const 1) (i32.const 0) (i32.const 999999))".repeat(10)
            ),
        ),
        (
            "growing tables",
            format!(
                "(module {} (elem declare func 0) (func (export \"run\") {} (loop (br 0))))",
                "(table 0 2000000 funcref)".repeat(50),
                (0..50)
                    .map(|table| format!("(drop (table.grow {table} (ref.func 0) (i32.const 2000000)))"))
                    .collect::<String>()
            ),
        ),
        (
            "growing memory",
            "(module (memory 0 8000) (func (export \"run\") (loop (drop (memory.grow (i32.const 1))) (br 0))))".into(),
        ),
        (
            "recursion without end",
            "(module (func $f (param i32) (result i32) (if (result i32) (i32.gt_u (local.get 0) (i32.const 20000))
                (then (i32.const 0)) (else (i32.add (call $f (i32.add (local.get 0) (i32.const 1))) (call $f (i32.add (local.get 0) (i32.const 1)))))))
                (func (export \"run\") (loop (drop (call $f (i32.const 0))) (br 0))))".into(),
        ),
        (
            "functions that call each other indirectly",
            "(module (type $t (func (param i32))) (table funcref (elem $a $b $a $b))
                (func $a (type $t) (if (i32.lt_u (local.get 0) (i32.const 100)) (then
                    (call_indirect (type $t) (i32.add (local.get 0) (i32.const 1)) (i32.and (local.get 0) (i32.const 3)))
                    (call_indirect (type $t) (i32.add (local.get 0) (i32.const 1)) (i32.const 1)))))
                (func $b (type $t) (call $a (i32.add (local.get 0) (i32.const 1))) (call $a (i32.add (local.get 0) (i32.const 2))))
                (func (export \"run\") (call $a (i32.const 0)) (loop (br 0))))".into(),
        ),
    ]
}
