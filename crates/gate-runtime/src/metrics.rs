//! Numbers for monitoring, through the `metrics` facade. Without a recorder they cost next to nothing.
//!
//! | name | kind | what |
//! |---|---|---|
//! | `gate_executors_started_total` | counter | executors that became ready |
//! | `gate_executors_died_total` | counter | executors that died without being asked to |
//! | `gate_executor_start_seconds` | histogram | time that making an executor took |
//! | `gate_processes_live` | gauge | processes that were requested and are not reaped |
//! | `gate_processes_requested_total` | counter | processes that were asked for |
//! | `gate_processes_started_total` | counter | processes that got a program |
//! | `gate_processes_ended_total` | counter | ends, by `cause`: `exit`, `signal`, `refused`, `closed`, `executor_died` |
//! | `gate_process_idle_seconds` | histogram | time from the request to the program |
//! | `gate_process_life_seconds` | histogram | time from the request to the end |
//! | `gate_programs_ended_total` | counter | ends of programs that were served, by `trap`; `error` if there is none |
//! | `gate_program_suspend_seconds` | histogram | time from asking for a suspension to the program's end |
//! | `gate_calls_total` | counter | host calls |
//! | `gate_call_bytes_total` | counter | bytes of calls, by `direction`: `received`, `sent` |

use metrics::{counter, gauge, histogram};
use std::time::Duration;

pub(crate) fn executor_started(time: Duration) {
    counter!("gate_executors_started_total").increment(1);
    histogram!("gate_executor_start_seconds").record(time);
}

pub(crate) fn executor_died() {
    counter!("gate_executors_died_total").increment(1);
}

pub(crate) fn process_requested() {
    counter!("gate_processes_requested_total").increment(1);
    gauge!("gate_processes_live").increment(1);
}

pub(crate) fn process_started(idle: Duration) {
    counter!("gate_processes_started_total").increment(1);
    histogram!("gate_process_idle_seconds").record(idle);
}

pub(crate) fn process_ended(cause: &'static str, life: Duration) {
    counter!("gate_processes_ended_total", "cause" => cause).increment(1);
    histogram!("gate_process_life_seconds").record(life);
    gauge!("gate_processes_live").decrement(1);
}

pub(crate) fn program_ended(trap: &'static str) {
    counter!("gate_programs_ended_total", "trap" => trap).increment(1);
}

pub(crate) fn program_suspended(time: Duration) {
    histogram!("gate_program_suspend_seconds").record(time);
}

pub(crate) fn call(received: usize, sent: usize) {
    counter!("gate_calls_total").increment(1);
    counter!("gate_call_bytes_total", "direction" => "received").increment(received as u64);
    counter!("gate_call_bytes_total", "direction" => "sent").increment(sent as u64);
}
