//! A timeline in mermaid's words: one section for each builder, one bar for each attempt.
//!
//! GitHub draws a diagram of at most 50,000 characters. Where there is more to show, the shortest good builds are left
//! out first, and what went wrong is left out last.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::{label, systems};
use crate::policy::Report;
use crate::policy::report::{AttemptReport, BuilderReport, How};

/// The characters of one diagram; beyond 50,000 GitHub shows an error in its place.
pub(super) const LONGEST: usize = 49_900;
/// The bars of one diagram: each is a row of its own.
const BARS: usize = 300;
/// The builders of one diagram.
const BUILDERS: usize = 24;

/// One diagram, and how many builds it leaves out.
pub(super) struct Diagram {
    pub text: String,
    pub left_out: usize,
}

/// As many diagrams as the builders need.
pub(super) fn diagrams(report: &Report) -> Vec<Diagram> {
    report.builders.chunks(BUILDERS).map(|builders| diagram(report, builders)).collect()
}

fn diagram(report: &Report, builders: &[BuilderReport]) -> Diagram {
    let names: BTreeSet<_> = builders.iter().map(|builder| &builder.name).collect();
    let mut ours: Vec<_> =
        report.attempts.iter().filter(|attempt| names.contains(&attempt.builder)).collect();
    // The most telling first.
    ours.sort_by_key(|attempt| std::cmp::Reverse((is_trouble(attempt), length(report, attempt))));
    let head = head(report);
    let mut room = LONGEST.saturating_sub(head.len());
    for builder in builders {
        room = room.saturating_sub(section(report, builder).len());
    }
    let mut shown = Vec::new();
    for attempt in &ours {
        let bar = bar(report, attempt);
        if shown.len() == BARS || bar.len() > room {
            break;
        }
        room -= bar.len();
        shown.push((*attempt, bar));
    }
    let left_out = ours.len() - shown.len();
    shown.sort_by_key(|(attempt, _)| attempt.began_ms);
    let mut text = head;
    for builder in builders {
        text += &section(report, builder);
        let own = shown.iter().filter(|(attempt, _)| attempt.builder == builder.name);
        text.extend(own.map(|(_, bar)| bar.as_str()));
    }
    Diagram { text, left_out }
}

fn is_trouble(attempt: &AttemptReport) -> bool {
    matches!(attempt.how, How::Failed | How::Lost)
}

fn length(report: &Report, attempt: &AttemptReport) -> u64 {
    attempt.ended_ms.unwrap_or(report.elapsed_ms).saturating_sub(attempt.began_ms)
}

/// Times are milliseconds (`x`) after the coordinator's start.
fn head(report: &Report) -> String {
    let axis = if report.elapsed_ms < 3_600_000 { "%M:%S" } else { "%H:%M:%S" };
    format!("gantt\n  dateFormat x\n  axisFormat {axis}\n")
}

/// A builder's title, and what it did before its first build; each section needs a bar.
fn section(report: &Report, builder: &BuilderReport) -> String {
    let title = format!("{} {}", builder.name.as_str(), systems(builder).join(" "));
    let mut text = format!("  section {}\n", plain(title.trim()));
    let (word, tags, until) = match builder.ready_ms {
        Some(ready) => ("came", "done", ready),
        None => ("never came", "crit", report.elapsed_ms),
    };
    let _ = writeln!(text, "  - {word} :{tags}, 0, {}", until.max(1));
    if let Some(gone) = builder.gone_ms {
        let _ = writeln!(text, "  - gone :milestone, crit, {gone}, {gone}");
    }
    text
}

/// A label that begins with a word of mermaid's would be taken for it, so all begin with a dash.
fn bar(report: &Report, attempt: &AttemptReport) -> String {
    let (tags, word) = match attempt.how {
        How::Running => ("active, ", " RUNNING"),
        How::Built => ("done, ", ""),
        How::Failed => ("crit, ", " FAILED"),
        How::Lost => ("crit, ", " LOST"),
        How::Cancelled => ("", " cancelled"),
    };
    let (began, end) = (attempt.began_ms, attempt.ended_ms.unwrap_or(report.elapsed_ms));
    format!("  - {}{word} :{tags}{began}, {}\n", plain(&label(attempt)), end.max(began + 1))
}

/// Without what ends a label or a line in mermaid's words, and of bounded length.
fn plain(text: &str) -> String {
    const LONGEST: usize = 80;
    let good = |c: char| if c.is_ascii_alphanumeric() || "-._+ ".contains(c) { c } else { '_' };
    text.chars().take(LONGEST).map(good).collect()
}
