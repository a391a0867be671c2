//! What came of it: facts to text, and whether they are what the demo promises. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use super::graph::Node;
use super::play::PowerCut;
use super::stage::{BUILDERS, VICTIM};
use super::verify::Testimony;
use super::watch::{Attempt, Seen, Watch};

/// Everything that is known at the end.
pub struct Facts<'a> {
    /// What was to be built.
    pub nodes: &'a [Node],
    /// What was seen while it was built.
    pub watch: &'a Watch,
    /// What the stores say.
    pub testimonies: &'a BTreeMap<String, Testimony>,
    /// The power cut, if it came to that.
    pub cut: Option<&'a PowerCut>,
    /// How long `nix build` took.
    pub took: Duration,
}

/// The report, and what is wrong; nothing is where the demo kept its promises.
pub fn report(facts: &Facts<'_>) -> (String, Vec<String>) {
    let text = format!("{}\n\n{}\n\n{}\n", builds(facts), builders(facts), summary(facts));
    (text, faults(facts))
}

fn builds(facts: &Facts<'_>) -> String {
    let mut table = plain(&["BUILD", "BUILT ON", "BEGAN", "TOOK", "WHAT THE STORES SAY"]);
    for node in facts.nodes {
        let built = facts.watch.of(&node.name).and_then(Seen::built);
        table.add_row([
            node.name.clone(),
            built.map_or("?".to_owned(), |attempt| attempt.builder.clone()),
            built.map_or("?".to_owned(), |attempt| seconds(attempt.began)),
            built.and_then(lasted).map_or("?".to_owned(), seconds),
            words_of_the_stores(facts, &node.name, built),
        ]);
    }
    text(table, &[2, 3])
}

fn words_of_the_stores(facts: &Facts<'_>, name: &str, built: Option<&Attempt>) -> String {
    let testimony = facts.testimonies.get(name);
    let says = |builder: &str| testimony.is_some_and(|testimony| testimony.built_by.contains(builder));
    let mut words = match built {
        Some(attempt) if says(&attempt.builder) => format!("{}: built here", attempt.builder),
        Some(attempt) => format!("{}: NOT built here", attempt.builder),
        None => "-".to_owned(),
    };
    for lost in facts.watch.of(name).into_iter().flat_map(Seen::lost) {
        let finished = if says(&lost.builder) { "built, but never delivered" } else { "not here" };
        let after = lasted(lost).map_or("?".to_owned(), seconds);
        words += &format!("; {}: {finished} (lost after {after})", lost.builder);
    }
    words
}

fn builders(facts: &Facts<'_>) -> String {
    let mut table = plain(&["BUILDER", "SLOTS", "BUILT", "LOST", "BUSY", ""]);
    for (name, slots) in BUILDERS {
        let (mut built, mut lost, mut busy) = (0, 0, Duration::ZERO);
        for seen in facts.nodes.iter().filter_map(|node| facts.watch.of(&node.name)) {
            built += seen.built().into_iter().filter(|attempt| attempt.builder == name).count();
            lost += seen.lost().filter(|attempt| attempt.builder == name).count();
            busy += seen
                .attempts
                .iter()
                .filter(|attempt| attempt.builder == name)
                .filter_map(lasted)
                .sum::<Duration>();
        }
        let fate = match facts.cut {
            Some(cut) if name == VICTIM => format!("killed at {}", seconds(cut.at)),
            _ => String::new(),
        };
        table.add_row([
            name.to_owned(),
            slots.to_string(),
            built.to_string(),
            lost.to_string(),
            seconds(busy),
            fate,
        ]);
    }
    text(table, &[1, 2, 3, 4])
}

fn summary(facts: &Facts<'_>) -> String {
    let wrong = facts.testimonies.values().filter(|testimony| testimony.wrong.is_some()).count();
    format!(
        "{} derivations in {}. {} lost with {VICTIM}, {} of them built again elsewhere.\n\
         {} of {} outputs are valid in the client's store and hold what they must.",
        facts.nodes.len(),
        seconds(facts.took),
        count(lost(facts).count(), "build"),
        repeated(facts),
        facts.nodes.len().saturating_sub(wrong),
        facts.nodes.len(),
    )
}

/// The builds that lost an attempt.
fn lost<'a>(facts: &'a Facts<'_>) -> impl Iterator<Item = &'a Seen> {
    let seen = facts.nodes.iter().filter_map(|node| facts.watch.of(&node.name));
    seen.filter(|seen| seen.lost().next().is_some())
}

/// How many builds were lost on one builder and done by another.
fn repeated(facts: &Facts<'_>) -> usize {
    let elsewhere = |seen: &&Seen| {
        seen.built().is_some_and(|built| seen.lost().any(|lost| lost.builder != built.builder))
    };
    lost(facts).filter(elsewhere).count()
}

fn faults(facts: &Facts<'_>) -> Vec<String> {
    let mut faults: Vec<String> = facts.nodes.iter().flat_map(|node| faults_of(facts, &node.name)).collect();
    match facts.cut {
        None => faults.push(format!("{VICTIM} was never killed: it was not busy enough in the middle")),
        Some(_) if repeated(facts) == 0 => faults.push("no build was repeated elsewhere".to_owned()),
        Some(_) => {}
    }
    faults
}

fn faults_of(facts: &Facts<'_>, name: &str) -> Vec<String> {
    let Some(testimony) = facts.testimonies.get(name) else {
        return vec![format!("nobody was asked about {name}")];
    };
    let mut faults: Vec<String> = testimony.wrong.iter().map(|wrong| format!("{name} {wrong}")).collect();
    let seen = facts.watch.of(name);
    match seen.and_then(Seen::built) {
        Some(built) if testimony.built_by.contains(&built.builder) => {}
        Some(built) => {
            faults.push(format!("the store of {} does not say that it built {name}", built.builder))
        }
        None => faults.push(format!("nobody saw who built {name}")),
    }
    let tried = |builder: &String| {
        seen.is_some_and(|seen| seen.attempts.iter().any(|attempt| attempt.builder == *builder))
    };
    let strangers = testimony.built_by.iter().filter(|builder| !tried(builder));
    faults.extend(
        strangers.map(|builder| format!("the store of {builder} says that it built {name}, nobody saw it")),
    );
    faults
}

fn lasted(attempt: &Attempt) -> Option<Duration> {
    attempt.ended.map(|(at, _)| at.saturating_sub(attempt.began))
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn count(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what} was") } else { format!("{count} {what}s were") }
}

fn plain(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.to_vec());
    table
}

/// The table's text, these columns flush right.
fn text(mut table: Table, right: &[usize]) -> String {
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests;
