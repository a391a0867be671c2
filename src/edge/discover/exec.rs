//! A command that prints a line of JSON for each builder.

use std::collections::BTreeSet;
use std::future::Future;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::{Rank, Report, authority, default_name, with_query};
use crate::config::{Builder, BuilderUri};
use crate::domain::BuilderName;
use crate::wire::listing::{self, Listed};

/// A command that takes longer is killed.
const LIMIT: Duration = Duration::from_secs(30);
/// What it may print.
const MOST_OUTPUT: u64 = 1 << 20;
/// What is kept of its stderr.
const MOST_STDERR: usize = 2 << 10;

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
enum ExecError {
    #[error("cannot start it: {0}")]
    Spawn(#[source] std::io::Error),
    #[error("cannot read what it prints: {0}")]
    Read(#[source] std::io::Error),
    #[error("it took longer than {} and was killed", humantime::format_duration(LIMIT))]
    Slow,
    #[error("it printed more than {MOST_OUTPUT} bytes")]
    Long,
    #[error("what it printed is no text")]
    NoText,
    #[error("it ended with {status}{}{stderr}", if stderr.is_empty() { "" } else { ": " })]
    Ended { status: std::process::ExitStatus, stderr: String },
    #[error("its output, {0}")]
    Listing(#[from] listing::BadListing),
    #[error("its output: '{uri}': {why}")]
    Uri { uri: String, why: String },
    #[error("its output: there are two builders named '{0}'")]
    Twice(BuilderName),
}

/// Runs for ever; whoever drops it kills the command.
pub(super) async fn watch<Told>(
    rank: Rank,
    command: &[String],
    interval: Duration,
    tell: impl Fn(Report) -> Told,
) where
    Told: Future<Output = ()>,
{
    let mut last_failure = None;
    loop {
        match run(command).await {
            Ok(builders) => {
                last_failure = None;
                tell(Report::Known(rank, builders)).await;
            }
            Err(error) => {
                let failure =
                    format!("the source '{}': {error}; what it said before holds", command.join(" "));
                if last_failure.as_ref() != Some(&failure) {
                    tracing::warn!("{failure}");
                }
                last_failure = Some(failure);
                tell(Report::Failed(rank)).await;
            }
        }
        sleep(interval).await;
    }
}

async fn run(command: &[String]) -> Result<Vec<Builder>, ExecError> {
    let text = timeout(LIMIT, output(command)).await.map_err(|_| ExecError::Slow)??;
    let mut names = BTreeSet::new();
    let mut builders = Vec::new();
    for listed in listing::parse(&text)? {
        let builder = builder(listed)?;
        if !names.insert(builder.spec.name.clone()) {
            return Err(ExecError::Twice(builder.spec.name));
        }
        builders.push(builder);
    }
    Ok(builders)
}

fn builder(listed: Listed) -> Result<Builder, ExecError> {
    let Listed { name, uri: text, host_key, values } = listed;
    let bad = |why: String| ExecError::Uri { uri: text.chars().take(200).collect(), why };
    let pinned = host_key.map(|key| data_encoding::BASE64.encode(key.as_bytes()));
    let uri = BuilderUri::parse(&with_query(&text, &[("base64-ssh-public-host-key", pinned.as_deref())]));
    let uri = uri.map_err(|error| bad(error.to_string()))?;
    let name = name.or_else(|| default_name(&uri)).or_else(|| BuilderName::parse(authority(&text)).ok());
    let name = name.ok_or_else(|| bad("it needs a `name`".to_owned()))?;
    Ok(Builder { spec: values.named(name), uri })
}

/// Everything that it prints, once it has ended well.
async fn output(command: &[String]) -> Result<String, ExecError> {
    let mut child = Group(start(command).map_err(ExecError::Spawn)?);
    let (Some(stdout), Some(stderr)) = (child.0.stdout.take(), child.0.stderr.take()) else {
        unreachable!("both were asked for");
    };
    let (text, stderr) = tokio::try_join!(bounded(stdout), async { Ok(tail(stderr).await) })?;
    let status = child.0.wait().await.map_err(ExecError::Read)?;
    if !status.success() {
        return Err(ExecError::Ended { status, stderr });
    }
    String::from_utf8(text).map_err(|_| ExecError::NoText)
}

async fn bounded(stdout: impl AsyncRead + Unpin) -> Result<Vec<u8>, ExecError> {
    let mut text = Vec::new();
    stdout.take(MOST_OUTPUT + 1).read_to_end(&mut text).await.map_err(ExecError::Read)?;
    if text.len() as u64 > MOST_OUTPUT { Err(ExecError::Long) } else { Ok(text) }
}

fn start(command: &[String]) -> std::io::Result<Child> {
    let (program, arguments) = command.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true).spawn()
}

/// A child that is killed with all that it started.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            // It may be gone already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The end of what it says on its stderr.
async fn tail(mut stderr: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let mut chunk = [0; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..read]);
        let excess = kept.len().saturating_sub(MOST_STDERR);
        kept.drain(..excess);
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str) -> Result<Vec<Builder>, String> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        run(&command).await.map_err(|error| error.to_string())
    }

    async fn fails(script: &str, expected: &str) {
        let error = shell(script).await.expect_err(script);
        assert!(error.contains(expected), "{error}");
    }

    #[tokio::test]
    async fn each_line_is_a_builder() {
        let found =
            shell(r#"echo '{"uri":"process:/srv/b1","slots":2}'; echo '{"name":"b","uri":"process:/x"}'"#);
        let found = found.await.expect("good");
        let names: Vec<_> = found.iter().map(|builder| builder.spec.name.as_str()).collect();
        assert_eq!(names, ["b1", "b"]);
        assert_eq!(shell("true").await, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn a_failure_says_what_happened() {
        fails("echo no network >&2; exit 3", "it ended with exit status: 3: no network").await;
        fails(r#"echo '{"uri":"nonsense:x"}'"#, "'nonsense:x'").await;
        fails(r#"echo '{"uri":"process:/a","host":1}'"#, "line 1: unknown field `host`").await;
        fails(r#"for i in 1 2; do echo '{"uri":"process:/a"}'; done"#, "two builders named 'a'").await;
        fails("yes", "more than 1048576 bytes").await;
        let error = run(&["/nonexistent".to_owned()]).await.map_err(|error| error.to_string());
        assert!(error.is_err_and(|error| error.starts_with("cannot start it")));
    }
}
