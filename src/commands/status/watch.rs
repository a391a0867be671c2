//! `muster status --watch`: the same again and again, also while no coordinator is there.

use std::io::{self, IsTerminal, Write};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Failure, reach};
use crate::cli::StatusArgs;
use crate::config::{Control, Environment};
use crate::edge::signals::Signals;
use crate::policy::Snapshot;
use crate::render;
use crate::wire::control::ControlError;

/// Between two pictures where they are not drawn over one another.
const RULE: &str = "----------------------------------------\n";

/// Shows the state until Ctrl-C, which is an interruption, or until nobody reads it any more.
pub async fn watch(args: &StatusArgs, environment: &Environment, control: &Control) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let signals = Signals::catch().map_err(|error| Failure::Failed(error.into()))?;
    let shown = show(args, environment, control, &stop);
    signals.guard(&stop, shown).await.unwrap_or(Err(Failure::Interrupted))
}

async fn show(
    args: &StatusArgs,
    environment: &Environment,
    control: &Control,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let mut screen = Screen::new(args.json);
    loop {
        let asked = tokio::select! {
            asked = reach(control) => asked.map(|(snapshot, _)| snapshot),
            () = stop.cancelled() => return Err(Failure::Interrupted),
        };
        let picture = picture(args, environment, control, asked)?;
        if !screen.show(&picture)? {
            return Ok(());
        }
        tokio::select! {
            () = sleep(args.interval) => {}
            () = stop.cancelled() => return Err(Failure::Interrupted),
        }
    }
}

/// What is to be seen, and whether it is news each time.
struct Picture {
    text: String,
    waiting: bool,
}

fn picture(
    args: &StatusArgs,
    environment: &Environment,
    control: &Control,
    asked: Result<Snapshot, ControlError>,
) -> Result<Picture, Failure> {
    let text = match &asked {
        Ok(snapshot) if args.json => {
            let line = render::status::json_line(snapshot);
            format!("{}\n", line.map_err(|error| Failure::Failed(error.into()))?)
        }
        Ok(snapshot) => render::status::table(snapshot, environment.width),
        Err(error) => {
            format!("waiting for the coordinator at {} ({error})\n", control.socket.display())
        }
    };
    Ok(Picture { text, waiting: asked.is_err() })
}

/// Where the pictures appear.
struct Screen {
    terminal: bool,
    json: bool,
    shown: usize,
    waits: bool,
}

impl Screen {
    fn new(json: bool) -> Self {
        Self { terminal: io::stdout().is_terminal() && !json, json, shown: 0, waits: false }
    }

    /// Shows one; false where nobody reads any more. That there is nothing to see is said once, and never to programs.
    fn show(&mut self, picture: &Picture) -> Result<bool, Failure> {
        let said = std::mem::replace(&mut self.waits, picture.waiting) && picture.waiting;
        if said && !self.terminal {
            return Ok(true);
        }
        if picture.waiting && self.json {
            eprint!("{}", picture.text);
            return Ok(true);
        }
        let text = match (self.terminal, self.json, self.shown) {
            (true, _, 0) => format!("\x1b[2J{}", in_place(&picture.text)),
            (true, ..) => in_place(&picture.text),
            (false, false, 1..) => format!("{RULE}{}", picture.text),
            _ => picture.text.clone(),
        };
        self.shown += 1;
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(Failure::Failed(anyhow::Error::new(error).context("cannot write to stdout"))),
        }
    }
}

/// Over what was there before: home, each line to its end, then all below.
fn in_place(text: &str) -> String {
    let lines: String = text.lines().map(|line| format!("{line}\x1b[K\n")).collect();
    format!("\x1b[H{lines}\x1b[J")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_covers_the_one_before() {
        assert_eq!(in_place("a\nb\n"), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    }
}
