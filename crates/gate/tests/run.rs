//! What programs get from `gate run`, and what comes back.

mod command;

use command::{finish, gate, program, run};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::Stdio;

#[test]
fn big_binary_data_streams_through_pipes() {
    let data: Vec<u8> = (0..5_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 21) as u8).collect();
    let ended = finish(&mut run(&[], "cat.wat", &[]), &data).quietly(0);
    assert!(ended.stdout == data, "{} bytes came back", ended.stdout.len());
}

#[test]
fn files_and_devices_can_be_streams() {
    let dir = tempfile::tempdir().unwrap();
    let (input, output) = (dir.path().join("in"), dir.path().join("out"));
    let data = vec![0xfe; 200_000];
    fs::write(&input, &data).unwrap();
    let status = run(&[], "cat.wat", &[])
        .stdin(File::open(&input).unwrap())
        .stdout(File::create(&output).unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    assert!(fs::read(&output).unwrap() == data);

    // What is written is behind what others have written, and before what they write then.
    let mut file = File::options().append(true).open(&output).unwrap();
    let status = run(&[], "cat.wat", &[])
        .stdin(File::open(&input).unwrap())
        .stdout(file.try_clone().unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    file.write_all(b"end").unwrap();
    assert_eq!(fs::read(&output).unwrap().len(), 400_003);

    let status = run(&[], "cat.wat", &[]).stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
    assert!(status.success());
    let full = File::options().write(true).open("/dev/full").unwrap();
    let status = run(&[], "cat.wat", &[]).stdin(File::open(&input).unwrap()).stdout(full).status().unwrap();
    assert_eq!(status.code(), Some(51)); // ENOSPC
}

#[test]
fn answers_come_while_input_is_open() {
    let mut child = run(&[], "cat.wat", &[]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for line in [b"one\n", b"two\n", b"3!?\n"] {
        stdin.write_all(line).unwrap();
        let mut got = [0; 4];
        stdout.read_exact(&mut got).unwrap();
        assert_eq!(&got, line);
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn streams_are_left_in_the_mode_they_were_in() {
    let (read, write) = std::io::pipe().unwrap();
    let mut child =
        run(&[], "cat.wat", &[]).stdin(read.try_clone().unwrap()).stdout(Stdio::piped()).spawn().unwrap();
    let mut got = [0];
    (&write).write_all(b"x").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut got).unwrap();
    assert!(!rustix::fs::fcntl_getfl(&read).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
    drop(write);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_closed_pipe_ends_the_program_quietly() {
    let mut child = run(&[], "yes.wat", &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut got = [0; 12];
    child.stdout.as_mut().unwrap().read_exact(&mut got).unwrap();
    assert_eq!(&got, b"yes\nyes\nyes\n");
    drop(child.stdout.take());
    let ended: command::Ended = child.wait_with_output().unwrap().into();
    ended.quietly(141);
}

#[test]
fn arguments_and_environment_arrive() {
    let mut command = run(
        &["--env", "A=1", "--env", "B=x=y", "--env", "HANDED_ON", "--env", "MISSING", "--env", "A=2"],
        "show.wat",
        &["-v", "--env", "C=3", "", "--", "--help", "ü"],
    );
    let ended = finish(command.env("HANDED_ON", "yes").env("SECRET", "no"), b"");
    assert_eq!(ended.code, Some(0));
    let stdout = ended.stdout().trim_end_matches('\0');
    assert_eq!(stdout, "show.wat\0-v\0--env\0C=3\0\0--\0--help\0ü");
    // The standard error is the program's own here; the buffer is larger than what the environment takes of it.
    assert!(ended.stderr.starts_with("B=x=y\0HANDED_ON=yes\0A=2\0"), "{ended:?}");
    assert!(!ended.stderr.contains("SECRET") && !ended.stderr.contains("MISSING"));
}

#[test]
fn exit_codes_are_passed_through() {
    finish(&mut run(&[], "exit.wat", &[]), b"").quietly(41);
    finish(&mut run(&[], "exit.wat", &["a", "b"]), b"").quietly(43);
    let many = vec!["x"; 300];
    finish(&mut run(&[], "exit.wat", &many), b"").quietly(341 & 0xff);
}

#[test]
fn functions_are_called_by_name() {
    let call =
        |name, args: &[&str]| finish(&mut run(&["--invoke", name], "functions.wat", args), b"").quietly(0);
    assert_eq!(call("gcd", &["1071", "462"]).stdout(), "21\n");
    assert_eq!(call("gcd", &["18446744073709551615", "5"]).stdout(), "5\n");
    assert_eq!(call("swap", &["-7", "-0.5"]).stdout(), "-0.5\n-7\n");
    assert_eq!(call("half", &["5"]).stdout(), "2.5\n");
    assert_eq!(
        call("same", &["340282366920938463463374607431768211455"]).stdout(),
        format!("{}\n", u128::MAX)
    );
    assert_eq!(call("nothing", &[]).stdout(), "");
    assert_eq!(call("reference", &["null", "null"]).stdout(), "null\nnull\n");
    assert_eq!(call("recurse", &["1000"]).stdout(), "1000\n");
}

#[test]
fn reactors_are_initialized_first() {
    let ended = finish(&mut run(&["--invoke", "value"], "reactor.wat", &[]), b"").quietly(0);
    assert_eq!(ended.stdout(), "49\n");
    let ended = finish(&mut run(&["--invoke", "_initialize"], "reactor.wat", &[]), b"").quietly(0);
    assert_eq!(ended.stdout(), "");
}

#[test]
fn modules_are_read_from_standard_input_in_either_form() {
    let text = fs::read(program("functions.wat")).unwrap();
    let args = ["run", "--invoke", "gcd", "-", "12", "18"];
    assert_eq!(finish(&mut gate(&args), &text).quietly(0).stdout(), "6\n");
    let binary = wat_to_binary("functions.wat");
    assert_eq!(finish(&mut gate(&args), &binary).quietly(0).stdout(), "6\n");
    // There is nothing left for the program to read.
    let cat = fs::read(program("cat.wat")).unwrap();
    assert_eq!(finish(&mut gate(&["run", "-"]), &cat).quietly(0).stdout(), "");
}

#[test]
fn clocks_randomness_and_signals_work() {
    let call = |options: &[&str], name, args: &[&str]| {
        let ended =
            finish(&mut run(&[options, &["--invoke", name]].concat(), "system.wat", args), b"").quietly(0);
        ended.stdout().lines().map(|line| line.parse::<i64>().unwrap()).collect::<Vec<_>>()
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64;
    let time = call(&[], "time", &["0"]);
    assert!(time[0] == 0 && (now..now + 60_000_000_000).contains(&time[1]), "{time:?}");
    let monotonic = call(&[], "time", &["1"]);
    assert!(monotonic[0] == 0 && (0..60_000_000_000).contains(&monotonic[1]), "{monotonic:?}");
    assert_eq!(call(&[], "time", &["77"]), [28, 0]);
    assert_eq!(call(&["--time-resolution", "1h"], "resolution", &["0"]), [0, 3_600_000_000_000]);
    let coarse = call(&["--time-resolution", "1h"], "time", &["0"]);
    assert_eq!(coarse[1] % 3_600_000_000_000, 0);
    let first = call(&[], "random", &["65536", "8"]);
    assert!(first[0] == 0 && first != call(&[], "random", &["65536", "8"]));
    assert_eq!(call(&[], "random", &["131065", "8"]), [21, 0]);
    assert_eq!(call(&[], "yield", &[]), [0]);
    assert_eq!(call(&[], "raise", &["0"]), [0]);
    finish(&mut run(&["--invoke", "raise"], "system.wat", &["6"]), b"").quietly(134);
    finish(&mut run(&["--invoke", "raise"], "system.wat", &["15"]), b"").quietly(143);
}

#[test]
fn sleeping_takes_the_time_it_should() {
    for _ in 0..5 {
        let ended = finish(&mut run(&["--invoke", "sleep"], "sleep.wat", &["20000000"]), b"").quietly(0);
        let slept: u64 = ended.stdout().trim().parse().unwrap();
        assert!((20_000_000..1_000_000_000).contains(&slept), "{slept}");
    }
}

#[test]
fn examples_do_what_they_say() {
    let example = |name: &str| format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"));
    let hello = example("hello.wat");
    assert_eq!(finish(&mut gate(&["run", &hello]), b"").quietly(0).stdout(), "Hello, world!\n");
    let ended = finish(&mut gate(&["run", &hello, "Ada", "Grace"]), b"").quietly(0);
    assert_eq!(ended.stdout(), "Hello, Ada!\nHello, Grace!\n");
    let wc = example("wc.wat");
    assert_eq!(finish(&mut gate(&["run", &wc]), b"").quietly(0).stdout(), "0 0 0\n");
    let text = "two words\n and\tthree more\n".repeat(10_000);
    let ended = finish(&mut gate(&["run", &wc]), text.as_bytes()).quietly(0);
    assert_eq!(ended.stdout(), format!("20000 50000 {}\n", text.len()));
}

fn wat_to_binary(name: &str) -> Vec<u8> {
    let text = fs::read_to_string(program(name)).unwrap();
    let buf = wast::parser::ParseBuffer::new(&text).unwrap();
    wast::parser::parse::<wast::Wat<'_>>(&buf).unwrap().encode().unwrap()
}
