//! GitHub's own formats: workflow commands on stdout, and values in the files that it reads after a step.
//! Source: "Workflow commands for GitHub Actions" and the runner's `ActionCommand`.

use super::plan::Level;

/// A line that stands out of the log.
pub fn annotation(level: Level, text: &str) -> String {
    let word = match level {
        Level::Notice => "notice",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    format!("::{word} title=muster::{}", escaped(text))
}

/// No log shows this text from here on; GitHub takes this line away itself.
pub fn mask(secret: &str) -> String {
    format!("::add-mask::{}", escaped(secret))
}

/// What GitHub would take for an end of the command.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A value for `GITHUB_OUTPUT`. The delimiter is none of its lines, so that a value can't set others.
pub fn value(name: &str, value: &str) -> String {
    let mut delimiter = "END_OF_MUSTER".to_owned();
    while value.lines().any(|line| line == delimiter) {
        delimiter.push('_');
    }
    format!("{name}<<{delimiter}\n{value}\n{delimiter}\n")
}

/// A line of somebody else's in our log: none that GitHub would take for a command.
pub fn harmless(line: &str) -> String {
    if line.trim_start().starts_with("::") || line.contains("##[") {
        format!("| {}", line.replace("##[", "## ["))
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_cannot_end_a_command_or_begin_one() {
        assert_eq!(
            annotation(Level::Error, "100 %\n::set-output name=x::y"),
            "::error title=muster::100 %25%0A::set-output name=x::y"
        );
        assert_eq!(harmless("  ::add-path::/tmp"), "|   ::add-path::/tmp");
        assert_eq!(harmless("a ##[group]"), "| a ## [group]");
        assert_eq!(harmless("building x::y"), "building x::y");
    }

    #[test]
    fn a_value_cannot_set_others() {
        assert_eq!(value("a", "b"), "a<<END_OF_MUSTER\nb\nEND_OF_MUSTER\n");
        let evil = "x\nEND_OF_MUSTER\npath<<E\n/tmp\nE";
        assert!(value("a", evil).starts_with("a<<END_OF_MUSTER_\n"));
    }
}
