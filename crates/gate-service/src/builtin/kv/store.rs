//! The database.

use super::protocol::{self, Change, Error as Refusal, ListReply, Listing};
use super::{ChangeId, KvLimits};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Row, Sqlite, SqliteConnection, Transaction};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A database of which nothing is kept.
const MEMORY: &str = ":memory:";

/// Version of the tables.
const VERSION: i64 = 1;

/// How long another process is waited for that writes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections to a file. Only one of them writes at a time.
const CONNECTIONS: u32 = 4;

/// How long the ids of changes are kept.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Most keys that a listing looks at.
const MAX_LISTED: u16 = 1024;

const SCHEMA: [&str; 4] = [
    "CREATE TABLE IF NOT EXISTS namespace (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
        entries INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, version INTEGER NOT NULL DEFAULT 0)",
    "CREATE TABLE IF NOT EXISTS entry (
        namespace INTEGER NOT NULL, key BLOB NOT NULL, version INTEGER NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (namespace, key))",
    "CREATE TABLE IF NOT EXISTS change (
        namespace INTEGER NOT NULL, id BLOB NOT NULL, version INTEGER NOT NULL, time INTEGER NOT NULL,
        PRIMARY KEY (namespace, id)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS change_time ON change (time)",
];

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenStoreError {
    /// The database does not work.
    #[error("open the store {path}: {source}", path = path.display())]
    Database {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        source: sqlx::Error,
    },
    /// The file belongs to something else, or to a newer version.
    #[error("open the store {path}: it has version {version}, not {VERSION}", path = path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Version of its tables.
        version: i64,
    },
}

#[derive(Debug)]
pub(super) struct Store {
    pool: SqlitePool,
    limits: KvLimits,
}

/// What is known of a namespace.
struct Namespace {
    id: i64,
    entries: i64,
    bytes: i64,
    version: i64,
}

impl Store {
    pub(super) async fn open(path: &Path, limits: KvLimits) -> Result<Self, OpenStoreError> {
        let database = |source| OpenStoreError::Database { path: path.to_owned(), source };
        let in_memory = path == Path::new(MEMORY);
        let options = SqliteConnectOptions::new().create_if_missing(true).busy_timeout(PATIENCE);
        let options = match in_memory {
            true => options.in_memory(true),
            // With this journal the database is sound after a crash at any time, and also what was committed is there unless
            // the machine itself has crashed.
            false => options
                .filename(path)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Normal),
        };
        let pool = SqlitePoolOptions::new()
            // In memory each connection has a database of its own, which lasts as long as it.
            .max_connections(if in_memory { 1 } else { CONNECTIONS })
            .min_connections(u32::from(in_memory))
            .idle_timeout((!in_memory).then_some(Duration::from_secs(60)))
            .max_lifetime(None)
            .acquire_timeout(PATIENCE)
            .connect_with(options)
            .await
            .map_err(database)?;
        let version = prepare(&pool).await.map_err(database)?;
        if version != VERSION {
            return Err(OpenStoreError::Version { path: path.to_owned(), version });
        }
        Ok(Self { pool, limits })
    }

    /// The reply with a key's value.
    pub(super) async fn get(&self, namespace: &str, key: Vec<u8>) -> Result<Vec<u8>, sqlx::Error> {
        let row = sqlx::query(
            "SELECT entry.version, value FROM entry JOIN namespace ON namespace.id = namespace
             WHERE name = ? AND key = ?",
        )
        .bind(namespace.to_owned())
        .bind(key)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(Refusal::Missing.reply()) };
        Ok(protocol::found(row.try_get::<i64, _>(0)?.cast_unsigned(), row.try_get(1)?))
    }

    /// The reply with keys in their order.
    pub(super) async fn list(&self, namespace: &str, listing: Listing) -> Result<Vec<u8>, sqlx::Error> {
        let limit = listing.limit.min(MAX_LISTED);
        let end = end_of_prefix(&listing.prefix);
        let begin = listing.prefix.max(listing.after.clone());
        let rows = sqlx::query(
            "SELECT key, entry.version, length(value) FROM entry JOIN namespace ON namespace.id = namespace
             WHERE name = ? AND key >= ? AND key < ? AND key <> ? ORDER BY key LIMIT ?",
        )
        .bind(namespace.to_owned())
        .bind(begin)
        .bind(end)
        .bind(listing.after)
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.pool)
        .await?;
        let mut reply = ListReply::new();
        for (count, row) in rows.iter().enumerate() {
            let version = row.try_get::<i64, _>(1)?.cast_unsigned();
            if count == usize::from(limit) || !reply.push(row.try_get(0)?, version, row.try_get(2)?) {
                return Ok(reply.finish(true));
            }
        }
        Ok(reply.finish(false))
    }

    /// Makes all of some changes or none, unless they have been made already, and returns the reply. Forgets a previous one.
    pub(super) async fn change(
        &self,
        name: &str,
        changes: Vec<Change>,
        id: ChangeId,
        previous: Option<ChangeId>,
    ) -> Result<Vec<u8>, sqlx::Error> {
        // Who reads first, and then cannot write, would have to begin again.
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let mut namespace = find_namespace(&mut transaction, name).await?;
        if let Some(version) = find_change(&mut transaction, &namespace, &id).await? {
            return Ok(protocol::changed(version));
        }
        let (entries, bytes) = (namespace.entries, namespace.bytes);
        namespace.version += 1;
        for (index, change) in changes.into_iter().enumerate() {
            if let Err(version) = apply(&mut transaction, &mut namespace, &change).await? {
                let error = if change.expected.is_some() { Refusal::Version } else { Refusal::Missing };
                return Ok(protocol::refused(error, index, version));
            }
            let grown = namespace.entries > entries || namespace.bytes > bytes;
            let full = namespace.entries > self.limits.max_entries.into()
                || namespace.bytes.cast_unsigned() > self.limits.max_bytes;
            // Also with stricter limits than before it can be made smaller.
            if full && grown {
                return Ok(protocol::refused(Refusal::Full, index, 0));
            }
        }
        record(&mut transaction, &namespace, id, previous).await?;
        transaction.commit().await?;
        Ok(protocol::changed(namespace.version.cast_unsigned()))
    }
}

/// Makes tables, if there are none. Returns their version.
async fn prepare(pool: &SqlitePool) -> Result<i64, sqlx::Error> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let version: i64 = sqlx::query("PRAGMA user_version").fetch_one(&mut *transaction).await?.try_get(0)?;
    let tables: i64 =
        sqlx::query("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *transaction).await?.try_get(0)?;
    // A database that has tables without being one of these is somebody else's.
    if version != 0 || tables != 0 {
        return Ok(version);
    }
    for statement in SCHEMA {
        sqlx::query(statement).execute(&mut *transaction).await?;
    }
    sqlx::query("PRAGMA user_version = 1").execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(VERSION)
}

async fn find_namespace(
    transaction: &mut Transaction<'_, Sqlite>,
    name: &str,
) -> Result<Namespace, sqlx::Error> {
    sqlx::query("INSERT INTO namespace (name) VALUES (?) ON CONFLICT DO NOTHING")
        .bind(name.to_owned())
        .execute(&mut **transaction)
        .await?;
    let row = sqlx::query("SELECT id, entries, bytes, version FROM namespace WHERE name = ?")
        .bind(name.to_owned())
        .fetch_one(&mut **transaction)
        .await?;
    Ok(Namespace {
        id: row.try_get(0)?,
        entries: row.try_get(1)?,
        bytes: row.try_get(2)?,
        version: row.try_get(3)?,
    })
}

/// The version that a change has made, if it has been made.
async fn find_change(
    connection: &mut SqliteConnection,
    namespace: &Namespace,
    id: &ChangeId,
) -> Result<Option<u64>, sqlx::Error> {
    let row = sqlx::query("SELECT version FROM change WHERE namespace = ? AND id = ?")
        .bind(namespace.id)
        .bind(id.to_vec())
        .fetch_optional(connection)
        .await?;
    row.map(|row| row.try_get::<i64, _>(0).map(i64::cast_unsigned)).transpose()
}

/// Makes a change, or tells which version its key has, zero if none.
async fn apply(
    connection: &mut SqliteConnection,
    namespace: &mut Namespace,
    change: &Change,
) -> Result<Result<(), u64>, sqlx::Error> {
    let row = sqlx::query("SELECT version, length(value) FROM entry WHERE namespace = ? AND key = ?")
        .bind(namespace.id)
        .bind(change.key.clone())
        .fetch_optional(&mut *connection)
        .await?;
    let old = row.map(|row| Ok::<(i64, i64), sqlx::Error>((row.try_get(0)?, row.try_get(1)?))).transpose()?;
    let version = old.map_or(0, |(version, _)| version.cast_unsigned());
    if change.expected.is_some_and(|expected| expected != version) || change.value.is_none() && old.is_none()
    {
        return Ok(Err(version));
    }
    let key_size = change.key.len() as i64;
    if let Some((_, size)) = old {
        namespace.entries -= 1;
        namespace.bytes -= key_size + size;
    }
    let query = match &change.value {
        Some(value) => {
            namespace.entries += 1;
            namespace.bytes += key_size + value.len() as i64;
            sqlx::query(
                "INSERT INTO entry (namespace, key, version, value) VALUES (?, ?, ?, ?)
                 ON CONFLICT (namespace, key) DO UPDATE SET version = excluded.version, value = excluded.value",
            )
            .bind(namespace.id)
            .bind(change.key.clone())
            .bind(namespace.version)
            .bind(value.clone())
        }
        None => sqlx::query("DELETE FROM entry WHERE namespace = ? AND key = ?")
            .bind(namespace.id)
            .bind(change.key.clone()),
    };
    query.execute(connection).await?;
    Ok(Ok(()))
}

/// Keeps what has become of the namespace, and that the change has been made.
async fn record(
    connection: &mut SqliteConnection,
    namespace: &Namespace,
    id: ChangeId,
    previous: Option<ChangeId>,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE namespace SET entries = ?, bytes = ?, version = ? WHERE id = ?")
        .bind(namespace.entries)
        .bind(namespace.bytes)
        .bind(namespace.version)
        .bind(namespace.id)
        .execute(&mut *connection)
        .await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    sqlx::query("DELETE FROM change WHERE namespace = ? AND id = ?")
        .bind(namespace.id)
        .bind(previous.unwrap_or_default().to_vec())
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM change WHERE time < ?")
        .bind(now.saturating_sub(KEPT).as_secs().cast_signed())
        .execute(&mut *connection)
        .await?;
    sqlx::query("INSERT INTO change (namespace, id, version, time) VALUES (?, ?, ?, ?)")
        .bind(namespace.id)
        .bind(id.to_vec())
        .bind(namespace.version)
        .bind(now.as_secs().cast_signed())
        .execute(connection)
        .await?;
    Ok(())
}

/// The least that is greater than all keys which begin with something.
fn end_of_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // No key is so long.
    vec![u8::MAX; usize::from(u8::MAX) + 1]
}
