//! What would change in a file, for people.

use std::fmt::Write;

/// Unchanged lines that are shown around the change.
const AROUND: usize = 3;

/// The change from `old` to `new` as one hunk, as `diff -u` writes it; nothing where there is none.
pub fn unified(path: &str, old: &[u8], new: &[u8]) -> String {
    if old == new {
        return String::new();
    }
    let (old, new) = (lines(old), lines(new));
    let before = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - before;
    let after = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let first = before.saturating_sub(AROUND);
    let shown = after.min(AROUND);
    let (old_end, new_end) = (old.len() - after, new.len() - after);
    let count = |end: usize| end + shown - first;
    let start = |end: usize| if count(end) == 0 { first } else { first + 1 };
    let mut text = format!("--- {path}\n+++ {path}\n");
    // Writing to a string cannot fail.
    let _ =
        writeln!(text, "@@ -{},{} +{},{} @@", start(old_end), count(old_end), start(new_end), count(new_end));
    let mut put =
        |mark: char, lines: &[String]| lines.iter().for_each(|line| text.push_str(&format!("{mark}{line}")));
    put(' ', &old[first..before]);
    put('-', &old[before..old_end]);
    put('+', &new[before..new_end]);
    put(' ', &old[old_end..old_end + shown]);
    text
}

/// Each with its end; the last one may have none, and that is said.
fn lines(text: &[u8]) -> Vec<String> {
    let line = |line: &[u8]| match String::from_utf8_lossy(line) {
        line if line.ends_with('\n') => line.into_owned(),
        line => format!("{line}\n\\ No newline at end of file\n"),
    };
    text.split_inclusive(|&byte| byte == b'\n').map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_shown_with_what_is_around_it() {
        let old = b"1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let new = b"1\n2\n3\n4\n5\nfive\n6\n7\n8\n9\n";
        let expected = "--- f\n+++ f\n@@ -3,6 +3,7 @@\n 3\n 4\n 5\n+five\n 6\n 7\n 8\n";
        assert_eq!(unified("f", old, new), expected);
    }

    #[test]
    fn lines_without_an_end_new_files_and_no_change_are_shown_as_such() {
        assert_eq!(unified("f", b"a", b"a"), "");
        assert_eq!(unified("f", b"", b"a\n"), "--- f\n+++ f\n@@ -0,0 +1,1 @@\n+a\n");
        let expected = "--- f\n+++ f\n@@ -1,1 +1,2 @@\n-a\n\\ No newline at end of file\n+a\n+b\n";
        assert_eq!(unified("f", b"a", b"a\nb\n"), expected);
    }
}
