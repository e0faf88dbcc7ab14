//! Real programs in C and Rust, run by the command: they must do the same as when they are compiled natively.
//!
//! `tools/build-programs` builds both kinds; the programs are described in `programs/README.md`.

mod command;

use command::server::{LISTEN, Server};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

/// A test for each program: its name, arguments, and a file which becomes its standard input.
macro_rules! programs {
    ($($test:ident: $program:literal [$($arg:literal),*] $(< $input:literal)?;)*) => {
        $(
            #[test]
            fn $test() {
                compare($program, &[$($arg),*], None$(.or(Some($input)))?);
            }
        )*
    };
}

programs! {
    calls: "fib" [];
    matrix_product: "matmul" [];
    primes: "sieve" [];
    hashing: "sha256" [];
    sorting: "quicksort" [];
    allocation: "trees" [];
    indirect_calls: "indirect" [];
    coremark: "coremark" [];
    floating_point: "nbody" [];
    binary_output: "mandelbrot" [];
    permutations: "fannkuch" [];
    numerical_kernels: "stencil" [];
    more_kernels: "kernels" [];
    images: "image" [];
    vector_instructions: "filter" [];
    blake3: "blake3" ["3"] < "target/programs/data/sample2";
    blake3_of_nothing: "blake3" [];
    bzip2: "bzip2" [] < "target/programs/data/sample2";
    bzip2_of_nothing: "bzip2" ["1"];
    zstd: "zstd" ["5"] < "target/programs/data/sample2";
    zstd_slowly: "zstd" ["19"] < "target/programs/data/sample1";
    lua: "lua" [] < "programs/inputs/workload.lua";
    lua_rejects_what_is_not_lua: "lua" [] < "programs/inputs/workload.js";
    quickjs: "quickjs" [] < "programs/inputs/workload.js";
    quickjs_rejects_what_is_not_javascript: "quickjs" [] < "programs/inputs/workload.sql";
    sqlite: "sqlite" ["2"] < "programs/inputs/workload.sql";
    sqlite_rejects_what_is_not_sql: "sqlite" [] < "programs/inputs/workload.lua";
    interpreter_inside: "wasm3" [];
    json: "json" [];
    regular_expressions: "regex" [] < "target/programs/data/manual.xml";
    markdown: "markdown" [] < "target/programs/data/readme.md";
    words: "words" [] < "target/programs/data/manual.xml";
    environment: "environment" ["7", "second argument", ""] < "target/programs/data/sample1";
    success: "panic" [];
    error_from_main: "panic" ["x"];
    panic: "panic" ["panic"];
}

/// The same programs, stopped and written down every few milliseconds, each time resumed with other text.
#[test]
fn stops_make_no_difference() {
    let long: [(&str, &[&str], Option<&str>); 6] = [
        ("quickjs", &[], Some("programs/inputs/workload.js")),
        ("lua", &[], Some("programs/inputs/workload.lua")),
        ("sqlite", &["2"], Some("programs/inputs/workload.sql")),
        ("zstd", &["5"], Some("target/programs/data/sample2")),
        ("regex", &[], Some("target/programs/data/manual.xml")),
        ("json", &[], None),
    ];
    let mut hops = 0;
    for (program, args, input) in long {
        let native = Command::new(PROGRAMS.join("native").join(program))
            .args(args)
            .stdin(open(input))
            .output()
            .expect("run a program");
        let dir = tempfile::tempdir().unwrap();
        let snapshot = dir.path().join("state.wasm");
        let mut first = Command::new(env!("CARGO_BIN_EXE_gate"));
        first.args(["run", "--suspend-after", "2ms", "--snapshot"]).arg(&snapshot);
        first.arg(PROGRAMS.join("wasm").join(format!("{program}.wasm"))).args(args);
        first.env("XDG_CACHE_HOME", &*CACHE);
        // What has not been read is still in the file.
        let file = input.map(|name| File::open(resolve(name)).expect("open an input"));
        let stdin = || file.as_ref().map_or_else(Stdio::null, |file| file.try_clone().unwrap().into());
        let options: [&[&str]; 2] =
            [&["--suspend-after", "4ms", "--opt", "none"], &["--suspend-after", "4ms", "--target", "x86-64"]];
        let chain = command::chain::chain(first, &snapshot, &options, stdin);
        assert_eq!(Some(chain.code), native.status.code(), "{program}");
        assert!(chain.stdout == native.stdout, "output of {program} after {} hops", chain.hops);
        hops += chain.hops;
    }
    assert!(hops >= 12, "they were stopped {hops} times only");
}

/// Programs that others connect to, by what C and Rust have for it.
#[test]
fn servers() {
    for (program, text, answer) in
        [("upper", "some bytes\n", "SOME BYTES\n"), ("reverse", "some bytes\n", "setyb emos\n")]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gate"));
        command.arg("run").args(LISTEN).arg(PROGRAMS.join("wasm").join(format!("{program}.wasm")));
        let server = Server::start(command.env("XDG_CACHE_HOME", &*CACHE));
        // The first one of `upper` stays while others come and go.
        let first = (program == "upper").then(|| server.connect());
        for _ in 0..2 {
            let mut client = server.connect();
            client.write_all(text.as_bytes()).unwrap();
            let mut got = vec![0; answer.len()];
            client.read_exact(&mut got).unwrap();
            assert_eq!(String::from_utf8_lossy(&got), answer, "{program}");
        }
        let mut last = first.unwrap_or_else(|| server.connect());
        last.write_all(b"quit\n").unwrap();
        server.ends(0, "");
    }
}

/// Exit code of a native program that aborts, as shells tell it, and of a program that traps.
const ABORTED: i32 = 128 + 6;

fn open(input: Option<&str>) -> Stdio {
    match input {
        None => Stdio::null(),
        Some(name) => {
            let path = resolve(name);
            File::open(&path).unwrap_or_else(|e| panic!("open {}: {e}", path.display())).into()
        }
    }
}

fn compare(program: &str, args: &[&str], input: Option<&str>) {
    let input = || open(input);
    let run = |command: &mut Command| -> Output {
        command.env("RUST_BACKTRACE", "0").stdin(input()).output().expect("run a program")
    };
    let native =
        run(Command::new(PROGRAMS.join("native").join(program)).args(args).env("GATE_TEST", "some value"));
    let ours = run(Command::new(env!("CARGO_BIN_EXE_gate"))
        .args(["run", "--env", "GATE_TEST=some value"])
        .arg(PROGRAMS.join("wasm").join(format!("{program}.wasm")))
        .args(args)
        .env("XDG_CACHE_HOME", &*CACHE));

    let stderr = String::from_utf8_lossy(&ours.stderr);
    let code = native.status.code().unwrap_or(ABORTED);
    assert_eq!(ours.status.code(), Some(code), "exit code of {program}; standard error: {stderr}");
    if ours.stdout != native.stdout {
        // Binary output is not made more readable by printing both.
        let at = ours.stdout.iter().zip(&native.stdout).take_while(|(a, b)| a == b).count();
        let rest = |output: &Output| {
            output.stdout[at..].escape_ascii().take(200).map(char::from).collect::<String>()
        };
        panic!(
            "output of {program} differs at byte {at}:\n  gate: {}\n  native: {}\nstandard error: {stderr}",
            rest(&ours),
            rest(&native)
        );
    }
    if native.status.code().is_some() && code == 0 {
        assert_eq!(ours.stderr, native.stderr, "standard error of {program}: {stderr}");
    }
}

/// Where the programs are, once they are built.
static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| {
    let script = resolve("tools/build-programs");
    let output = Command::new(&script).output().unwrap_or_else(|e| panic!("run {}: {e}", script.display()));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", script.display());
    target().join("programs")
});

/// Compiled programs are kept from one run of the tests to the next, apart from the user's.
static CACHE: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs-cache");
    fs::create_dir_all(&dir).expect("create a cache directory");
    dir
});

fn resolve(path: &str) -> PathBuf {
    match path.strip_prefix("target/") {
        Some(rest) => target().join(rest),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path),
    }
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from)
}
