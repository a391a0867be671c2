//! The `tailscale` command: for what tailscaled's socket is not for us to ask, and for joining and leaving.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::clock;
use crate::wire::tailscale::MOST_STATUS;

/// The command, where PATH or the application for macOS has it.
const COMMANDS: [&str; 2] = ["tailscale", "/Applications/Tailscale.app/Contents/MacOS/Tailscale"];
/// What is kept of its last words.
const KEPT: usize = 2000;
/// What is read of them.
const MOST_SAID: u64 = 1 << 20;

/// How it is run.
#[derive(Debug, Clone)]
pub struct Cli {
    programs: Vec<PathBuf>,
    socket: Option<PathBuf>,
}

/// Why it did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// It is not there.
    #[error("there is no `tailscale` command: install Tailscale, or say where it is")]
    Nothing,
    /// It cannot be run.
    #[error("`{program}`: {why}")]
    Start {
        /// Which one.
        program: String,
        /// Why not.
        why: io::Error,
    },
    /// It took too long, and was killed.
    #[error("`{program} {word}`: no answer within {}", humantime::format_duration(*limit))]
    Slow {
        /// Which one.
        program: String,
        /// The first of its arguments.
        word: String,
        /// How long it had.
        limit: Duration,
    },
    /// It prints without end.
    #[error("`{0}` says more than {MOST_STATUS} bytes")]
    Long(String),
    /// It says why not.
    #[error("`{program} {word}`: {status}: {said}")]
    Failed {
        /// Which one.
        program: String,
        /// The first of its arguments.
        word: String,
        /// How it ended.
        status: String,
        /// Its last words.
        said: String,
    },
}

impl Cli {
    /// The one that is named, or the usual one.
    pub fn new(named: Option<&Path>, socket: Option<&Path>) -> Self {
        let usual = || COMMANDS.iter().map(PathBuf::from).collect();
        let programs = named.map_or_else(usual, |program| vec![program.to_owned()]);
        Self { programs, socket: socket.map(Path::to_owned) }
    }

    /// Runs it with `input` on its standard input; what it prints. It is gone when this is over, however that came.
    pub async fn run(&self, words: &[String], input: &str, limit: Duration) -> Result<Vec<u8>, CliError> {
        let (program, child) = self.start(words, input)?;
        let word = words.first().cloned().unwrap_or_default();
        let began = clock::now();
        let ended = timeout(limit, talk(child, input)).await;
        tracing::debug!(program, ?words, took = ?began.elapsed(), "tailscale has been asked");
        match ended {
            Err(_) => Err(CliError::Slow { program, word, limit }),
            Ok(Err(why)) => Err(CliError::Start { program, why }),
            Ok(Ok((_, stdout, _))) if stdout.len() > MOST_STATUS => Err(CliError::Long(program)),
            Ok(Ok((status, stdout, _))) if status.success() => Ok(stdout),
            Ok(Ok((status, _, said))) => {
                Err(CliError::Failed { program, word, status: status.to_string(), said: tail(&said) })
            }
        }
    }

    fn start(&self, words: &[String], input: &str) -> Result<(String, Child), CliError> {
        for program in &self.programs {
            let mut command = Command::new(program);
            command.args(self.socket.iter().map(|socket| format!("--socket={}", socket.display())));
            let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
            command.args(words).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
            let name = program.display().to_string();
            match command.kill_on_drop(true).spawn() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(why) => return Err(CliError::Start { program: name, why }),
                Ok(child) => return Ok((name, child)),
            }
        }
        Err(CliError::Nothing)
    }
}

/// Gives it its input, and takes what it says on both streams, by pipes that we bound.
async fn talk(mut child: Child, input: &str) -> io::Result<(std::process::ExitStatus, Vec<u8>, Vec<u8>)> {
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        unreachable!("both were asked for");
    };
    let stdin = child.stdin.take();
    let give = async {
        if let Some(mut stdin) = stdin {
            // One that does not want it says why on its stderr.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        Ok(0)
    };
    let (mut text, mut said) = (Vec::new(), Vec::new());
    let (mut stdout, mut stderr) = (stdout.take(MOST_STATUS as u64 + 1), stderr.take(MOST_SAID));
    tokio::try_join!(give, stdout.read_to_end(&mut text), stderr.read_to_end(&mut said))?;
    drop((stdout, stderr));
    Ok((child.wait().await?, text, said))
}

fn tail(said: &[u8]) -> String {
    String::from_utf8_lossy(&said[said.len().saturating_sub(KEPT)..]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    async fn answer(script: &str, input: &str) -> Result<String, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let program = dir.path().join("tailscale");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("room");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
        let cli = Cli { programs: vec!["/nonexistent/tailscale".into(), program], socket: Some("/s".into()) };
        let words = ["status", "--json"].map(str::to_owned);
        let text = cli.run(&words, input, Duration::from_secs(5)).await;
        text.map(|text| String::from_utf8_lossy(&text).into_owned()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn it_is_run_with_its_socket_and_its_input() {
        assert_eq!(answer("echo \"$@\"", "").await, Ok("--socket=/s status --json\n".to_owned()));
        assert_eq!(answer("cat /dev/stdin", "secret").await, Ok("secret".to_owned()));
        assert_eq!(answer("exit 0", "nobody reads it").await, Ok(String::new()));
    }

    #[tokio::test]
    async fn where_it_fails_its_last_words_are_kept() {
        let error = answer("echo 'failed to connect' >&2; exit 1", "").await.expect_err("it failed");
        assert!(error.contains("tailscale status`: exit status: 1: failed to connect"), "{error}");
        let nothing = Cli { programs: vec!["/nonexistent/tailscale".into()], socket: None };
        let error = nothing.run(&[], "", Duration::from_secs(5)).await.expect_err("no command").to_string();
        assert!(error.contains("install Tailscale"), "{error}");
    }

    #[tokio::test]
    async fn one_that_hangs_is_ended() {
        let dir = tempfile::tempdir().expect("a directory");
        let program = dir.path().join("tailscale");
        fs::write(&program, "#!/bin/sh\nexec sleep 1000\n").expect("room");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
        let cli = Cli::new(Some(&program), None);
        let ended = cli.run(&["up".to_owned()], "", Duration::from_millis(100)).await;
        assert!(matches!(ended, Err(CliError::Slow { .. })), "{ended:?}");
    }
}
