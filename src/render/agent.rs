//! `muster builder status`

use std::time::Duration;

use super::{bytes, human, plain_table, tame, text_of};
use crate::policy::claims::Ending;

/// A claim, as the agent's own document has it.
pub struct Row<'a> {
    /// The coordinator's name.
    pub coordinator: &'a str,
    /// Builds at once, builds that run, and builds that could.
    pub slots: [u32; 3],
    /// How long it lasts.
    pub lasts: Duration,
}

/// What stands above the claims.
pub struct Head<'a> {
    /// Builds at once.
    pub slots: u32,
    /// The same before anything was learned.
    pub stated: u32,
    /// Whether it ends with its last claim.
    pub ephemeral: bool,
    /// Who wants nothing new to start.
    pub closed: Option<&'a str>,
    /// Percent of the time in which something waited for processors and memory.
    pub pressure: [Option<f64>; 2],
    /// Free memory in bytes.
    pub memory: Option<u64>,
    /// How old the agent is.
    pub age: Duration,
}

/// The machine in a line, and a table of claims.
pub fn status(head: &Head<'_>, claims: &[Row<'_>], width: Option<u16>) -> String {
    let learned = if head.slots == head.stated {
        String::new()
    } else {
        format!(" (learned; {} at first)", head.stated)
    };
    let mut text = format!("{} slots{learned}, up for {}", head.slots, human(head.age));
    for (what, percent) in ["processors", "memory"].iter().zip(head.pressure) {
        if let Some(percent) = percent {
            text.push_str(&format!("; {percent:.0} % of the time something waits for {what}"));
        }
    }
    if let Some(memory) = head.memory {
        text.push_str(&format!("; {} free", bytes(memory)));
    }
    if head.ephemeral {
        text.push_str("; ends with its last claim");
    }
    text.push('\n');
    if let Some(by) = head.closed {
        text.push_str(&format!("drained by {}: nothing new starts here\n", tame(by)));
    }
    if claims.is_empty() {
        return text + "nobody has claimed it\n";
    }
    let mut table = plain_table(&["COORDINATOR", "GRANTED", "RUNNING", "WANTED", "LASTS"], width);
    for row in claims {
        let [granted, running, wanted] = row.slots.map(|slots| slots.to_string());
        table.add_row(vec![tame(row.coordinator), granted, running, wanted, human(row.lasts)]);
    }
    format!("{text}\n{}\n", text_of(table))
}

/// Why an agent ended.
pub fn ending(ending: &Ending) -> String {
    match ending {
        Ending::Released => "all claims were given back, or have lapsed".to_owned(),
        Ending::Idle => "nobody claimed this builder in time".to_owned(),
        Ending::Lifetime => "its lifetime is over".to_owned(),
        Ending::Dismissed(by) => format!("{} released it", tame(by)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_builder_shows_who_has_what() {
        let head = Head {
            slots: 4,
            stated: 3,
            ephemeral: true,
            closed: Some("ann\u{7}"),
            pressure: [Some(12.4), None],
            memory: Some(3 << 30),
            age: Duration::from_secs(90),
        };
        let row = Row { coordinator: "desk", slots: [2, 1, 9], lasts: Duration::from_secs(44) };
        let text = status(&head, &[row], None);
        assert!(text.starts_with("4 slots (learned; 3 at first), up for "), "{text}");
        assert!(
            text.contains("12 % of the time something waits for processors; 3.0 GiB free; ends with"),
            "{text}"
        );
        assert!(text.contains("drained by ann : nothing new"), "{text}");
        assert!(text.lines().any(|line| line.starts_with("desk") && line.contains("44")), "{text}");
    }
}
