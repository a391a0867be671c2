//! `muster why`.

use std::time::Duration;

use super::{human, plain_table, tame, text_of};
use crate::policy::Explanation;
use crate::policy::why::{AttemptStory, BuildStory, BuilderStory, Phase, ReasonRow};

/// The explanation as JSON, as programs read it.
pub fn json(why: &Explanation) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(why)
}

/// What is known of a build, and the name of whoever asked for it.
pub fn build(story: &BuildStory, asked_by: Option<&str>, width: Option<u16>) -> String {
    let mut parts = vec![headline(story, asked_by)];
    if let Some(waiting) = &story.waiting {
        parts.push(tame(waiting));
    }
    if !story.attempts.is_empty() {
        parts.push(String::new());
        parts.push(attempts(&story.attempts, width));
    }
    if !story.builders.is_empty() {
        let when = match story.phase {
            Phase::Running => "When its newest attempt began:",
            Phase::Waiting | Phase::Finished => "Now:",
        };
        parts.push(format!("\n{when}"));
        parts.push(reasons(&story.builders, width));
    }
    parts.join("\n") + "\n"
}

fn headline(story: &BuildStory, asked_by: Option<&str>) -> String {
    let by = asked_by.map(|name| format!(" by {}", tame(name))).unwrap_or_default();
    let asked = format!("asked for {} ago{by}", age(story.age_ms));
    let state = match (story.phase, &story.outcome) {
        (Phase::Waiting, _) => format!("waits, {asked}"),
        (Phase::Running, _) => format!("runs, {asked}"),
        (Phase::Finished, outcome) => {
            let ended = age(story.ended_ms_ago.unwrap_or_default());
            format!("ended {ended} ago: {}", outcome.as_deref().map(tame).unwrap_or_default())
        }
    };
    let mut wants = vec![story.system.to_string()];
    wants.extend(story.features.iter().map(ToString::to_string));
    wants.extend(story.labels.iter().map(|label| format!("labelled {label}")));
    format!("{} ({})\n{state}", tame(&story.drv), wants.join(", "))
}

fn attempts(rows: &[AttemptStory], width: Option<u16>) -> String {
    let mut table = plain_table(&["ATTEMPT", "BUILDER", "BEGAN", "TOOK", "HOW IT WENT", "WHY THERE"], width);
    for row in rows {
        let how = match &row.ended {
            Some(how) => tame(how),
            None => format!("{} now", row.stage),
        };
        table.add_row([
            row.number.to_string(),
            row.builder.to_string(),
            format!("{} ago", age(row.began_ms_ago)),
            age(row.took_ms),
            how,
            tame(&row.why),
        ]);
    }
    text_of(table)
}

fn reasons(rows: &[ReasonRow], width: Option<u16>) -> String {
    let mut table = plain_table(&["BUILDER", "REASON"], width);
    for row in rows {
        table.add_row([row.builder.to_string(), tame(&row.reason)]);
    }
    text_of(table)
}

/// What is known of a builder.
pub fn builder(story: &BuilderStory, width: Option<u16>) -> String {
    let row = &story.builder;
    let mut parts =
        vec![format!("{}: {}, for {}", row.name, super::status::health(row), age(story.since_ms))];
    if story.running.is_empty() {
        parts.push(format!("\nNothing runs there. Slots: {}.", row.slots));
    } else {
        let mut table = plain_table(&["RUNS", "STAGE", "FOR"], width);
        for running in &story.running {
            table.add_row([tame(&running.drv), running.stage.to_string(), age(running.age_ms)]);
        }
        parts.push(format!("\n{}", text_of(table)));
    }
    if !story.waiting.is_empty() {
        let mut table = plain_table(&["WAITS", "WHAT SPEAKS FOR OR AGAINST THIS BUILDER"], width);
        for waiting in &story.waiting {
            table.add_row([tame(&waiting.drv), tame(&waiting.reason)]);
        }
        parts.push(format!("\n{}", text_of(table)));
    }
    if story.queued > story.waiting.len() {
        parts.push(format!("and {} more wait", story.queued - story.waiting.len()));
    }
    parts.join("\n") + "\n"
}

/// The builds that a name may stand for.
pub fn candidates(name: &str, candidates: &[String], count: usize) -> String {
    let list: String = candidates.iter().map(|drv| format!("\n  {}", tame(drv))).collect();
    let more = count - candidates.len().min(count);
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    format!("'{}' stands for {count} builds:{list}{more}", tame(name))
}

fn age(ms: u64) -> String {
    human(Duration::from_millis(ms))
}
