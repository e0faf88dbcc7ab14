//! What there is, and what is expected of it.

use crate::machine::Reach;
use gate_compiler::Value::{self, ExternRef, F32, F64, FuncRef, I32, I64, V128};
use gate_image::{Exit, Instance};
use gate_runtime::TrapId;
use gate_wire::call::CallReply;

/// A snapshot.
pub(crate) struct Golden {
    /// Name of the file, without the extension.
    pub(crate) file: &'static str,
    /// Names of the functions on the stack, innermost first, and how they go on. Equal ones once.
    pub(crate) stack: Vec<(&'static str, &'static str)>,
    /// What the program can reach.
    pub(crate) reach: Reach,
    /// What `fd_seek` does.
    pub(crate) reply: Option<CallReply>,
    /// Whether there is something left to do.
    pub(crate) goes_on: bool,
    pub(crate) ending: Ending,
    /// A function that can be called then, and what it returns.
    pub(crate) afterwards: Option<(&'static str, Vec<Value>)>,
}

/// How a program has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    exit: Exit,
    results: Vec<Value>,
    /// Number of calls of `fd_seek` since the snapshot.
    calls: usize,
    output: String,
}

impl Ending {
    pub(crate) fn new(instance: &Instance, calls: usize, output: &str) -> Self {
        let exit = instance.exit().unwrap();
        Self { exit, results: instance.results().unwrap(), calls, output: output.into() }
    }
}

fn ended(file: &'static str, exit: Exit, results: &[Value]) -> Golden {
    Golden {
        file,
        stack: Vec::new(),
        reach: Reach::Nothing,
        reply: None,
        goes_on: false,
        ending: Ending { exit, results: results.into(), calls: 0, output: String::new() },
        afterwards: None,
    }
}

fn suspended(file: &'static str, stack: &[(&'static str, &'static str)], results: &[Value]) -> Golden {
    Golden { stack: stack.into(), goes_on: true, ..ended(file, Exit::Returned, results) }
}

const WORKED: [Value; 12] = [
    I64(-5_023_382_302_655_522_687),
    F32(0x7fb0_0003),
    // 1000001.0
    F64(0x412e_8482_0000_0000),
    V128(0x007a_1204_005b_8d83_003d_0902_001e_8481),
    FuncRef(Some(1)),
    ExternRef(None),
    I32(-5),
    I64(548_437_307_081_506_159),
    F32(0x7fa0_0001),
    F64(0xfff4_0000_0000_0001),
    V128(0x2222_2222_2222_2222_1111_1111_1111_1111),
    I32(7),
];

/// All of them.
pub(crate) fn all() -> Vec<Golden> {
    let host = |file, reply, calls, exit| {
        let stack = [("seek", "enter"), ("outer", "call"), ("main", "call")];
        let results: &[Value] = if exit == Exit::Returned { &[I64(1007)] } else { &[] };
        let mut golden = Golden { reply, ..suspended(file, &stack, results) };
        (golden.ending.calls, golden.ending.exit) = (calls, exit);
        golden
    };
    let mut wasi = suspended("wasi", &[("_start", "loop")], &[]);
    wasi.ending.exit = Exit::Terminated { code: 8 };
    wasi.ending.output = "golden\0secondNAME=x\0".into();
    let files = |file, reach, code, output: &str| {
        let mut golden = Golden { reach, ..suspended(file, &[("main", "loop")], &[]) };
        golden.ending.exit = Exit::Terminated { code };
        golden.ending.output = output.into();
        golden
    };
    let mut fresh = suspended("fresh", &[], &ECHOED);
    fresh.afterwards = Some(("kept", vec![ExternRef(None), ExternRef(None)]));
    let mut returned = ended("returned", Exit::Returned, &[I32(-77), F64(0x3fd0_0000_0000_0000)]);
    returned.afterwards = Some(("load", vec![I32(-77)]));
    let mut references = ended("references", Exit::Returned, &[]);
    references.afterwards = Some(("kept", vec![ExternRef(Some(4_000_000_000)); 2]));
    let mut trapped = ended("trapped", Exit::Trapped(TrapId::IntegerDivideByZero), &[]);
    trapped.stack = vec![("divide", "trap"), ("dig", "call"), ("trap", "call")];
    trapped.afterwards = Some(("load", vec![I32(9)]));
    let chain = [("even", "call"), ("chain", "call")];
    vec![
        fresh,
        suspended("entry", &[("fib", "enter"), ("fib", "call")], &[I32(1_346_269)]),
        suspended("loop", &[("loop", "loop")], &WORKED),
        suspended(
            "chain",
            &[&[("spin", "loop")][..], &[("even", "call"), ("odd", "call")].repeat(10), &chain].concat(),
            &[I64(13_499_995_514_367)],
        ),
        suspended("bulk", &[("fill", "execute")], &[I32(892_613_481)]),
        suspended("breakpoint", &[("even", "breakpoint"), ("chain", "call")], &[I64(13_499_995_514_367)]),
        suspended("start", &[("start", "loop")], &[I64(1_999_998_999_997), I64(99)]),
        suspended(
            "regions",
            &[("main", "loop")],
            &[I32(22), I32(0x3333_3333), I32(0x7470_656b), I32(5), I32(108)],
        ),
        suspended("features", &[("spin", "loop")], &[I64(73_000_228)]),
        host("host_unsent", Some(CallReply::Return(7)), 1, Exit::Returned),
        host("host_answered", None, 0, Exit::Returned),
        host("host_refused", None, 0, Exit::Trapped(TrapId::AbiDeficiency)),
        returned,
        trapped,
        ended("terminated", Exit::Terminated { code: 42 }, &[]),
        references,
        wasi,
        files("files", Reach::Files, 0, "ile of the host"),
        files("files_in_memory", Reach::Memory, 0, "ile of the host memory!"),
        // ECONNRESET: a connection does not go along.
        files("sockets", Reach::Sockets, 15, "ile of the host memory!m an image"),
    ]
}

/// Arguments of the function that the fresh instance calls.
pub(crate) const ARGUMENTS: [Value; 7] = [
    I32(-1),
    I64(i64::MIN),
    F32(0xffa0_0001),
    F64(0x7ff4_0000_0000_0001),
    V128(0x0123_4567_89ab_cdef_0011_2233_4455_6677),
    FuncRef(Some(2)),
    ExternRef(Some(0)),
];

const ECHOED: [Value; 8] = {
    let [a, b, c, d, e, f, g] = ARGUMENTS;
    // The start function has run once.
    [a, b, c, d, e, f, g, I32(1)]
};
