//! Makes a JSON document, prints it, parses what was printed, and looks through it.

use serde_json::{json, Value};

fn main() {
    let records = std::env::args().nth(1).map_or(200, |arg| arg.parse().expect("number of records"));
    let text = serde_json::to_string_pretty(&document(records)).expect("print");
    let value: Value = serde_json::from_str(&text).expect("parse");
    let mut counts = Counts::default();
    counts.visit(&value, 1);
    let compact = value.to_string();
    let summary = json!({
        "objects": counts.objects, "arrays": counts.arrays, "strings": counts.strings, "numbers": counts.numbers,
        "sum": counts.sum, "depth": counts.depth, "pretty": text.len(), "compact": compact.len(),
        "same": serde_json::from_str::<Value>(&compact).expect("parse") == value,
    });
    println!("{}", summary);
    for wrong in ["{\"unfinished\": [1, 2", "[1, 2,]", "nul", "\"\\ud800\"", "1e999"] {
        match serde_json::from_str::<Value>(wrong) {
            Ok(value) => println!("parsed what is no JSON: {}", value),
            Err(error) => println!("{}", error),
        }
    }
}

fn document(records: u64) -> Value {
    let mut seed = 1u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        seed >> 33
    };
    (0..records)
        .map(|id| {
            let number = random();
            json!({
                "id": id,
                "name": format!("record \u{e9}\u{1f600} \"{}\"\n", number),
                "tags": (0..number % 5).map(|tag| format!("tag{}", tag)).collect::<Vec<_>>(),
                "position": { "x": random() as f64 / 1000.0, "y": -(random() as f64) / 7.0 },
                "flags": [number % 2 == 0, null_or(number), 1u64 << (number % 63), -(id as i64)],
            })
        })
        .collect()
}

fn null_or(number: u64) -> Value {
    if number % 3 == 0 { Value::Null } else { number.into() }
}

#[derive(Default)]
struct Counts {
    objects: usize,
    arrays: usize,
    strings: usize,
    numbers: usize,
    sum: f64,
    depth: usize,
}

impl Counts {
    fn visit(&mut self, value: &Value, depth: usize) {
        self.depth = self.depth.max(depth);
        match value {
            Value::Object(map) => {
                self.objects += 1;
                map.values().for_each(|v| self.visit(v, depth + 1));
            }
            Value::Array(list) => {
                self.arrays += 1;
                list.iter().for_each(|v| self.visit(v, depth + 1));
            }
            Value::String(_) => self.strings += 1,
            Value::Number(n) => {
                self.numbers += 1;
                self.sum += n.as_f64().unwrap_or(0.0);
            }
            Value::Bool(_) | Value::Null => {}
        }
    }
}
