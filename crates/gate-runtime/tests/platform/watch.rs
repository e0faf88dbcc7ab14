//! What monitoring sees of processes.

use crate::machine::{children, executor, kill, program, rerun, start};
use gate_runtime::{Config, Executor, NoHostFunctions, ProcessPolicy, TrapId};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Subscriber, span};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// In a process of its own, because a recorder is for all of a process.
#[test]
fn metrics_tell_what_happened() {
    rerun("watch::metrics", &[], |_| {});
}

/// What the recorder got: counters and gauges by name and labels, histograms by their number of values.
fn values(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let entries = snapshotter.snapshot().into_vec().into_iter();
    entries
        .map(|(key, _, _, value)| {
            let key = key.key();
            let labels = key.labels().map(|label| format!("{{{}}}", label.value())).collect::<String>();
            let value = match value {
                DebugValue::Counter(count) => count as f64,
                DebugValue::Gauge(value) => value.into_inner(),
                DebugValue::Histogram(values) => {
                    assert!(values.iter().all(|value| (0.0..60.0).contains(&value.into_inner())));
                    values.len() as f64
                }
            };
            (format!("{}{labels}", key.name()), value)
        })
        .collect()
}

#[tokio::test]
#[ignore = "run by another test"]
async fn metrics() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();

    let executor = executor().await;
    let program = program();
    let mut none = NoHostFunctions;
    executor.new_process().await.unwrap().close().await;

    let mut process = executor.new_process().await.unwrap();
    let _instance = start(&mut process, &program, "six", ProcessPolicy::default());
    assert_eq!(process.serve(&mut none).await.unwrap().trap, TrapId::Exit);
    process.close().await;

    let mut process = executor.new_process().await.unwrap();
    let _instance = start(&mut process, &program, "spin", ProcessPolicy::default());
    let killer = process.killer();
    let (outcome, ()) = tokio::join!(process.serve(&mut none), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        killer.suspend();
    });
    assert_eq!(outcome.unwrap().trap, TrapId::Suspended);
    process.close().await;

    let mut process = executor.new_process().await.unwrap();
    let _instance = start(&mut process, &program, "spin", ProcessPolicy::default());
    kill(children(std::process::id(), "gate-executor")[0]);
    process.serve(&mut none).await.unwrap_err();
    executor.dead().await;
    process.close().await;

    let values = values(&snapshotter);
    let expected = [
        ("gate_executors_started_total", 1.0),
        ("gate_executor_start_seconds", 1.0),
        ("gate_executors_died_total", 1.0),
        ("gate_processes_live", 0.0),
        ("gate_processes_requested_total", 4.0),
        ("gate_processes_started_total", 3.0),
        ("gate_processes_ended_total{exit}", 2.0),
        ("gate_processes_ended_total{signal}", 1.0),
        ("gate_processes_ended_total{executor_died}", 1.0),
        ("gate_process_idle_seconds", 3.0),
        ("gate_process_life_seconds", 4.0),
        ("gate_programs_ended_total{exit}", 1.0),
        ("gate_programs_ended_total{suspended}", 1.0),
        ("gate_programs_ended_total{error}", 1.0),
        ("gate_program_suspend_seconds", 1.0),
    ];
    for (name, value) in expected {
        assert_eq!(values.get(name), Some(&value), "{name}: {values:#?}");
    }
}

/// Collects events together with the spans in which they are.
#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<String>>>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Collected {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut fields = Fields(String::new());
        attributes.record(&mut fields);
        context.span(id).unwrap().extensions_mut().insert(fields);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        let span = context.event_span(event).map_or(String::new(), |span| {
            let extensions = span.extensions();
            format!("{}{}:", span.name(), extensions.get::<Fields>().unwrap().0)
        });
        self.0.lock().unwrap().push(format!("{span}{}", fields.0));
    }
}

#[tokio::test]
async fn a_process_is_traced_from_its_request_to_its_end() {
    let collected = Collected::default();
    let log = Some(Dispatch::new(tracing_subscriber::registry().with(collected.clone())));
    let executor = Executor::new(Config { log, ..Config::default() }).await.unwrap();
    let mut process = executor.new_process().await.unwrap();
    let key = process.key();
    let _instance = start(&mut process, &program(), "six", ProcessPolicy::default());
    process.serve(&mut NoHostFunctions).await.unwrap();
    process.close().await;
    executor.close().await;

    let events = collected.0.lock().unwrap();
    let number: String = format!("{key:?}").chars().filter(char::is_ascii_digit).collect();
    let span = format!("process key={number} ");
    let mine: Vec<&String> = events.iter().filter(|event| event.starts_with(&span)).collect();
    assert_eq!(mine.len(), 4, "{events:#?}");
    assert!(mine[0].contains(": message=requested") && mine[1].contains(": message=started"), "{mine:#?}");
    // These two are told by the task that serves it and by the executor's.
    for message in ["concluded", "ended"] {
        let told = mine[2..].iter().filter(|event| event.contains(&format!(": message={message}")));
        assert_eq!(told.count(), 1, "{message}: {mine:#?}");
    }
}
