//! Counts how often it was run, with the service `kv`, and tells who is attached.
//!
//!     gate run --service kv=counters.db counter.wasm

use gate_guest::kv::{self, Change, Kv, Outcome};
use gate_guest::{origin::Origin, Error};

const KEY: &[u8] = b"runs";

/// Adds one, also if several programs do it at the same time.
async fn count(kv: &Kv) -> Result<u64, Error> {
    loop {
        let value = kv.get(KEY).await?;
        let (version, runs) = match &value {
            Some(value) => (value.version, String::from_utf8_lossy(&value.bytes).parse().unwrap_or(0)),
            None => (0, 0),
        };
        let runs: u64 = runs + 1;
        if let Outcome::Changed(_) = kv.put_if(KEY, version, runs.to_string().as_bytes()).await? {
            return Ok(runs);
        }
    }
}

fn main() -> Result<(), Error> {
    gate_guest::run(|gate| async move {
        let kv = Kv::discover(&gate).await?;
        let runs = count(&kv).await?;
        // Each run leaves a mark; those before the last three are removed, all of them or none.
        kv.put(format!("run/{runs:06}").as_bytes(), b"").await?;
        let marks = kv.list(b"run/", b"", 100).await?.entries;
        let old: Vec<_> = marks.iter().rev().skip(3).map(|mark| Change::Delete { key: &mark.key }).collect();
        if !old.is_empty() {
            kv.batch(&old).await?;
        }
        let left = kv.list(b"run/", b"", 100).await?.entries.len();
        let missing = kv.delete(b"nothing").await?;
        let late = kv.put_if(KEY, 0, b"").await?;
        assert!(!missing && matches!(late, Outcome::Conflict(version) if version > 0));
        assert_eq!(kv.put(b"", b"").await, Err(Error::Service(kv::INVALID)));
        if let Some(mut stream) = Origin::discover(&gate).await?.accept().await? {
            stream.write_all(format!("run {runs}, {left} marks\n").as_bytes()).await?;
        }
        Ok(())
    })
}
