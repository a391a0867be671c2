//! Where the play is told: lines, and on a terminal one more that changes.

use std::io::IsTerminal;
use std::time::Duration;

use super::super::print;
use super::stage::BUILDERS;
use super::watch::Watch;

/// The columns of a terminal that does not say how wide it is.
const USUAL_WIDTH: u16 = 80;

/// Stdout.
pub struct Screen {
    /// The columns of the terminal that it is.
    terminal: Option<usize>,
    live: bool,
}

impl Screen {
    /// Looks at what stdout is; `width` is what the terminal says of itself.
    pub fn new(width: Option<u16>) -> Self {
        let terminal = std::io::stdout().is_terminal().then(|| usize::from(width.unwrap_or(USUAL_WIDTH)));
        Self { terminal, live: false }
    }

    /// One line that stays.
    pub fn say(&mut self, at: Duration, line: &str) -> anyhow::Result<()> {
        self.show(&format!("{:6.1} s  {line}\n", at.as_secs_f64()))
    }

    /// Text that stays.
    pub fn show(&mut self, text: &str) -> anyhow::Result<()> {
        let clear = if std::mem::take(&mut self.live) { "\r\x1b[K" } else { "" };
        Ok(print(&format!("{clear}{text}"))?)
    }

    /// What goes on at this moment; nothing where stdout is no terminal.
    pub fn live(&mut self, at: Duration, done: usize, total: usize, watch: &Watch) -> anyhow::Result<()> {
        let Some(width) = self.terminal else { return Ok(()) };
        let text: String = live_line(at, done, total, watch).chars().take(width.saturating_sub(1)).collect();
        self.live = true;
        Ok(print(&format!("\r\x1b[K{text}"))?)
    }
}

fn live_line(at: Duration, done: usize, total: usize, watch: &Watch) -> String {
    let busy = BUILDERS.map(|(name, slots)| {
        let here = watch.running().filter(|(_, attempt)| attempt.builder == name).count();
        format!("{name} {here}/{slots}")
    });
    let filled = done * 20 / total.max(1);
    format!("{:6.1} s  [{:<20}] {done}/{total}   {}", at.as_secs_f64(), "#".repeat(filled), busy.join("   "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_line_says_how_far_it_is() {
        let line = live_line(Duration::from_millis(2400), 20, 40, &Watch::default());
        assert_eq!(line, "   2.4 s  [##########          ] 20/40   large 0/4   medium 0/2   small 0/1");
    }
}
