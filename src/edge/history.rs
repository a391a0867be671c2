//! What builds taught, kept for the next start: one SQLite file in the state directory.
//!
//! It is a memory, not a record: whatever is wrong with it, the coordinator works without. One process writes; others
//! read at the same time (WAL). A file that is broken, or of a later muster, is set aside under another name, since
//! somebody may want to look into it or go back to it.

mod rows;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::domain::Observation;

/// The schema that we write.
const VERSION: i64 = 1;
/// "MSTR": what kind of database this is.
const APPLICATION: i64 = 0x4d53_5452;
/// What is older is forgotten.
const KEPT_FOR_SECONDS: i64 = 180 * 24 * 3_600;
/// So many builds are remembered, the newest.
const KEPT: u64 = 100_000;
/// So many are told at the start: estimates follow the last builds anyway.
const RECALLED: u64 = 20_000;
/// Somebody else may be reading, or copying the file.
const BUSY: Duration = Duration::from_secs(5);

/// Why there is no history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It is not a database, or a broken one.
    #[error("{} is broken: {why}", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// What SQLite says.
        why: String,
    },
    /// It is somebody else's, or of a later muster.
    #[error("{} is of another program or of a later muster (version {version}, ours is {VERSION})", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What it says of itself.
        version: i64,
    },
    /// SQLite cannot do what it must.
    #[error("{}: {why}", path.display())]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: rusqlite::Error,
    },
    /// The state directory cannot be used.
    #[error("{}: {why}", path.display())]
    Io {
        /// Which path.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
}

impl HistoryError {
    /// The file itself is the trouble, so that another one would do.
    fn is_of_the_file(&self) -> bool {
        matches!(self, Self::Broken { .. } | Self::Foreign { .. })
    }
}

/// A database that was set aside.
#[derive(Debug)]
pub struct SetAside {
    /// What was wrong with it.
    pub why: HistoryError,
    /// Where it is now.
    pub to: PathBuf,
}

/// The database, for the one process that writes it. It blocks: never on the loop.
pub struct History {
    path: PathBuf,
    connection: Connection,
}

fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("history.sqlite")
}

impl History {
    /// Opens it, or makes it; one that cannot be used is set aside, `now` in its new name.
    pub fn open(state_dir: &Path, now: i64) -> Result<(Self, Option<SetAside>), HistoryError> {
        let path = file(state_dir);
        fs::create_dir_all(state_dir).map_err(|why| HistoryError::Io { path: state_dir.to_owned(), why })?;
        match Self::try_open(&path) {
            Err(why) if why.is_of_the_file() => {
                let to = set_aside(&path, now)?;
                Ok((Self::try_open(&path)?, Some(SetAside { why, to })))
            }
            opened => Ok((opened?, None)),
        }
    }

    fn try_open(path: &Path) -> Result<Self, HistoryError> {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        let failed = |why| explain(path, why);
        let is_new: bool = connection
            .query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
            .map_err(failed)?;
        if !is_new {
            judge(path, &connection)?;
        }
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        // A power failure may cost the last builds; each of them would cost a wait for the disk.
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
        if is_new {
            rows::create(&connection, VERSION, APPLICATION).map_err(failed)?;
        }
        Ok(Self { path: path.to_owned(), connection })
    }

    /// What the last builds taught, the oldest first.
    pub fn recall(&self) -> Result<Vec<Observation>, HistoryError> {
        rows::newest(&self.connection, RECALLED).map_err(|why| explain(&self.path, why))
    }

    /// Keeps what these builds taught.
    pub fn keep(&mut self, seen: &[Observation]) -> Result<(), HistoryError> {
        rows::insert(&mut self.connection, seen).map_err(|why| explain(&self.path, why))
    }

    /// Forgets what is too old or too much by now.
    pub fn forget(&self, now: i64) -> Result<(), HistoryError> {
        let kept = rows::delete(&self.connection, now.saturating_sub(KEPT_FOR_SECONDS), KEPT);
        kept.map_err(|why| explain(&self.path, why))
    }
}

/// Everything that is kept, the oldest first, whether a coordinator is writing it or not; none where there is no file.
pub fn read(state_dir: &Path) -> Result<Option<Vec<Observation>>, HistoryError> {
    let path = file(state_dir);
    if !super::files::is_there(&path) {
        return Ok(None);
    }
    let all = |connection: &Connection| {
        judge(&path, connection)?;
        rows::newest(connection, KEPT).map_err(|why| explain(&path, why))
    };
    match connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(|connection| all(&connection)) {
        // Where nobody writes, and we may not make the files beside it that writers and readers share.
        Err(HistoryError::Sqlite { why, .. }) if why.sqlite_error_code() == Some(ErrorCode::CannotOpen) => {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            all(&connect(Path::new(&immutable(&path)), flags)?).map(Some)
        }
        read => read.map(Some),
    }
}

/// The file as a URI for SQLite.
fn immutable(path: &Path) -> String {
    let plain = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    format!("file:{plain}?immutable=1")
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, HistoryError> {
    let open = || {
        let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY)?;
        Ok(connection)
    };
    open().map_err(|why| explain(path, why))
}

/// Refuses what is not ours, not of our version, or not whole.
fn judge(path: &Path, connection: &Connection) -> Result<(), HistoryError> {
    let failed = |why| explain(path, why);
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let version = number("user_version").map_err(failed)?;
    if number("application_id").map_err(failed)? != APPLICATION || version != VERSION {
        return Err(HistoryError::Foreign { path: path.to_owned(), version });
    }
    let said: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if said == "ok" { Ok(()) } else { Err(HistoryError::Broken { path: path.to_owned(), why: said }) }
}

fn explain(path: &Path, why: rusqlite::Error) -> HistoryError {
    let path = path.to_owned();
    match why.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            HistoryError::Broken { path, why: why.to_string() }
        }
        _ => HistoryError::Sqlite { path, why },
    }
}

/// Gives the file another name, and what belongs to it with it.
fn set_aside(path: &Path, now: i64) -> Result<PathBuf, HistoryError> {
    let with = |path: &Path, suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let to = with(path, &format!(".aside-{now}"));
    for suffix in ["-wal", "-shm", ""] {
        match fs::rename(with(path, suffix), with(&to, suffix)) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => {
                return Err(HistoryError::Io { path: with(path, suffix), why });
            }
            _ => {}
        }
    }
    Ok(to)
}

#[cfg(test)]
mod tests;
