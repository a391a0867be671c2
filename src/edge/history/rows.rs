//! The one table: what builds taught <-> rows.

use std::time::Duration;

use rusqlite::{Connection, Row, params};

use crate::domain::{BuilderName, Observation, System};

/// A longer name is no package's, and is not kept.
const LONGEST_NAME: usize = 200;

const TABLE: &str = "
CREATE TABLE builds (
    id            INTEGER PRIMARY KEY,
    at            INTEGER NOT NULL, -- seconds since 1970
    pname         TEXT    NOT NULL,
    system        TEXT    NOT NULL,
    builder       TEXT    NOT NULL,
    speed         REAL    NOT NULL, -- of the builder, as it was taken to be; 1.0 is the reference machine
    closure_bytes INTEGER NOT NULL,
    cores         INTEGER,
    took_ms       INTEGER NOT NULL,
    substituted   INTEGER NOT NULL
) STRICT;
CREATE INDEX builds_at ON builds (at);
";

pub(super) fn create(connection: &Connection, version: i64, application: i64) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "BEGIN; {TABLE} PRAGMA application_id = {application}; PRAGMA user_version = {version}; COMMIT;"
    ))
}

pub(super) fn insert(connection: &mut Connection, seen: &[Observation]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let mut insert = transaction.prepare(
        "INSERT INTO builds (at, pname, system, builder, speed, closure_bytes, cores, took_ms, substituted) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for seen in seen.iter().filter(|seen| seen.pname.len() <= LONGEST_NAME && seen.speed.is_finite()) {
        insert.execute(params![
            bounded(u128::from(seen.at)),
            seen.pname,
            seen.system.as_str(),
            seen.builder.as_str(),
            seen.speed,
            bounded(u128::from(seen.closure_bytes)),
            seen.cores,
            bounded(seen.took.as_millis()),
            seen.substituted,
        ])?;
    }
    drop(insert);
    transaction.commit()
}

fn bounded(number: u128) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The newest `most`, the oldest first. Rows that make no sense are left out.
pub(super) fn newest(connection: &Connection, most: u64) -> rusqlite::Result<Vec<Observation>> {
    let mut select = connection.prepare(
        "SELECT at, pname, system, builder, speed, closure_bytes, cores, took_ms, substituted \
         FROM builds ORDER BY id DESC LIMIT ?1",
    )?;
    let rows = select.query_map([bounded(u128::from(most))], |row| Ok(parse(row)))?;
    let mut seen = rows.filter_map(Result::transpose).collect::<rusqlite::Result<Vec<_>>>()?;
    seen.reverse();
    Ok(seen)
}

fn parse(row: &Row<'_>) -> Option<Observation> {
    let number = |index: usize| row.get::<_, i64>(index).ok().and_then(|number| u64::try_from(number).ok());
    let text = |index: usize| row.get::<_, String>(index).ok();
    Some(Observation {
        at: number(0)?,
        pname: text(1)?,
        system: System::parse(&text(2)?).ok()?,
        builder: BuilderName::parse(&text(3)?).ok()?,
        speed: row.get(4).ok()?,
        closure_bytes: number(5)?,
        cores: row.get(6).ok()?,
        took: Duration::from_millis(number(7)?),
        substituted: row.get(8).ok()?,
    })
}

pub(super) fn delete(connection: &Connection, before: i64, most: u64) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM builds WHERE at < ?1", [before])?;
    let most = bounded(u128::from(most));
    connection.execute("DELETE FROM builds WHERE id <= (SELECT max(id) FROM builds) - ?1", [most])?;
    Ok(())
}
