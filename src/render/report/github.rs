//! The summary of a job on GitHub: Markdown of at most 1 MiB, with mermaid's diagrams in it.

use std::fmt::Write;

use super::gantt::{Diagram, diagrams};
use super::{HEADER, TROUBLES, after, cells, headline, label, relayed, said, troubles};
use crate::policy::Report;

/// GitHub takes 1 MiB for one step; others may have written there, too.
const LONGEST: usize = 900_000;

/// The report as a job's summary; diagrams that do not fit into the whole are left out, and it says so.
pub fn markdown(report: &Report) -> String {
    let mut text = format!("### muster: {}\n\n", headline(report));
    text += &table(report);
    for slow in relayed(report) {
        let _ = writeln!(text, "> **Slow:** {}\n", escaped(&slow));
    }
    let (mut shown, mut without) = (0, 0);
    for diagram in diagrams(report) {
        let block = block(&diagram);
        if text.len() + block.len() > LONGEST {
            without += 1;
            continue;
        }
        text += &block;
        shown += 1;
    }
    if without > 0 {
        let _ = writeln!(text, "{without} of {} diagrams are too large for a summary.\n", without + shown);
    }
    text + &details(report)
}

fn table(report: &Report) -> String {
    if report.builders.is_empty() {
        return "No builder was known.\n\n".to_owned();
    }
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(&HEADER.map(str::to_owned)) + &line(&HEADER.map(|_| "---".to_owned()));
    for row in &report.builders {
        text += &line(&cells(row).map(|cell| escaped(&cell)));
    }
    text + "\n"
}

fn block(diagram: &Diagram) -> String {
    let left_out = match diagram.left_out {
        0 => String::new(),
        count => format!("{count} shorter builds are left out of the timeline.\n\n"),
    };
    format!("```mermaid\n{}```\n\n{left_out}", diagram.text)
}

fn details(report: &Report) -> String {
    let count = troubles(report).count();
    if count == 0 {
        return String::new();
    }
    let mut text = format!("<details><summary>What went wrong ({count})</summary>\n\n");
    for attempt in troubles(report).take(TROUBLES) {
        let (at, builder) = (after(attempt.began_ms), escaped(attempt.builder.as_str()));
        let _ = writeln!(
            text,
            "- after {at}, {}: {} (on {builder})",
            escaped(&label(attempt)),
            escaped(&said(attempt))
        );
    }
    if count > TROUBLES {
        let _ = writeln!(text, "- and {} more", count - TROUBLES);
    }
    text + "\n</details>\n"
}

/// Foreign words as plain words of Markdown.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '&' => escaped += "&amp;",
            '@' => escaped += "&#64;",
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' | '~' | '!' => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    escaped
}
