//! A section of ours in a file of somebody else's, between two marks; every other byte stays as it is.
//!
//! Taking it out again gives back the very bytes that were there before: what had to be added besides the section (an
//! end of the last line, or the file itself) is noted in its first mark. Both marks are comments to `nix.conf` and to
//! machines files, without a `;`, at which old Nix would split them.

use std::ops::Range;

const BEGIN: &str = "# BEGIN muster";
const TITLE: &str = " (kept by muster, removed by: muster setup --undo)";
const ENDED_LINE: &str = " [ended the line above]";
const MADE_FILE: &str = " [made this file]";
const END: &str = "# END muster\n";

/// A text whose marks make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}; remove the lines from '{BEGIN}' to '{}' by hand", END.trim_end())]
pub struct Torn {
    /// Counted from 1.
    pub line: usize,
    what: &'static str,
}

/// Where the section is, from its first mark to the end of its last.
struct Section {
    whole: Range<usize>,
    body: Range<usize>,
    ended_line: bool,
    made_file: bool,
}

/// What is between the marks, if there are any.
pub fn body(text: &[u8]) -> Result<Option<&[u8]>, Torn> {
    Ok(find(text)?.map(|section| &text[section.body]))
}

/// The text with `body` between the marks: in place of the former one, else at the end. No text is a new file.
pub fn put(text: Option<&[u8]>, body: &str) -> Result<Vec<u8>, Torn> {
    let (before, after, ended_line, made_file) = match text {
        None => (&[][..], &[][..], false, true),
        Some(text) => match find(text)? {
            Some(found) => {
                (&text[..found.whole.start], &text[found.whole.end..], found.ended_line, found.made_file)
            }
            None => (text, &[][..], !text.is_empty() && !text.ends_with(b"\n"), false),
        },
    };
    let mut out = before.to_vec();
    if ended_line && !out.ends_with(b"\n") {
        out.push(b'\n');
    }
    let notes = [(ended_line, ENDED_LINE), (made_file, MADE_FILE)];
    let notes: String = notes.iter().filter(|(noted, _)| *noted).map(|(_, note)| *note).collect();
    let end_of_line = if body.is_empty() || body.ends_with('\n') { "" } else { "\n" };
    out.extend_from_slice(format!("{BEGIN}{TITLE}{notes}\n{body}{end_of_line}{END}").as_bytes());
    out.extend_from_slice(after);
    Ok(out)
}

/// The text without the section; none where the file was made for it and holds nothing else.
pub fn take_out(text: &[u8]) -> Result<Option<Vec<u8>>, Torn> {
    let Some(section) = find(text)? else { return Ok(Some(text.to_vec())) };
    let (mut before, after) = (&text[..section.whole.start], &text[section.whole.end..]);
    if section.made_file && before.is_empty() && after.is_empty() {
        return Ok(None);
    }
    if section.ended_line && after.is_empty() {
        before = before.strip_suffix(b"\n").unwrap_or(before);
    }
    Ok(Some([before, after].concat()))
}

/// The text with the section's lines emptied, so that all others keep their numbers.
pub fn blank(text: &[u8]) -> Result<Vec<u8>, Torn> {
    let Some(section) = find(text)? else { return Ok(text.to_vec()) };
    let lines = text[section.whole.clone()].iter().filter(|&&byte| byte == b'\n').count();
    Ok([&text[..section.whole.start], &b"\n".repeat(lines)[..], &text[section.whole.end..]].concat())
}

fn find(text: &[u8]) -> Result<Option<Section>, Torn> {
    let mut found: Option<Section> = None;
    let mut open: Option<(Range<usize>, usize)> = None;
    let mut at = 0;
    for (n, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let range = at..at + line.len();
        at = range.end;
        let torn = |what| Torn { line: n + 1, what };
        if line.starts_with(BEGIN.as_bytes()) {
            if open.is_some() || found.is_some() {
                return Err(torn("a second section of muster begins here"));
            }
            open = Some((range, n + 1));
        } else if line.strip_suffix(b"\n").unwrap_or(line) == END.trim_end().as_bytes() {
            let (first, _) = open.take().ok_or(torn("a section of muster ends here and begins nowhere"))?;
            found = Some(section(text, first, range));
        }
    }
    match open {
        Some((_, line)) => Err(Torn { line, what: "the section of muster that begins here has no end" }),
        None => Ok(found),
    }
}

fn section(text: &[u8], first: Range<usize>, last: Range<usize>) -> Section {
    let mark = String::from_utf8_lossy(&text[first.clone()]);
    Section {
        ended_line: mark.contains(ENDED_LINE),
        made_file: mark.contains(MADE_FILE),
        whole: first.start..last.end,
        body: first.end..last.start,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_section_is_put_at_the_end_and_replaced_in_its_place() {
        let first = put(Some(b"mine\n"), "a = 1\n").expect("whole");
        let marked = format!("mine\n{BEGIN}{TITLE}\na = 1\n{END}");
        assert_eq!(text(first.clone()), marked);
        let mut longer = first;
        longer.extend_from_slice(b"later\n");
        assert_eq!(text(put(Some(&longer), "b").expect("whole")), marked.replace("a = 1", "b") + "later\n");
    }

    #[test]
    fn a_file_that_was_made_for_the_section_goes_with_it() {
        let made = put(None, "a\n").expect("whole");
        assert_eq!(take_out(&made), Ok(None));
        let kept = [&made[..], b"of the user's own\n"].concat();
        assert_eq!(take_out(&kept), Ok(Some(b"of the user's own\n".to_vec())));
        assert_eq!(take_out(&put(Some(b""), "a").expect("whole")), Ok(Some(Vec::new())));
    }

    #[test]
    fn marks_that_make_no_sense_are_named_with_their_line() {
        let check = |text: &str, line| assert_eq!(take_out(text.as_bytes()).map_err(|e| e.line), Err(line));
        check("a\n# BEGIN muster\nb\n", 2);
        check("a\n\n# END muster\n", 3);
        check("# BEGIN muster\n# END muster\n# BEGIN muster\n# END muster\n", 3);
    }

    #[test]
    fn other_lines_keep_their_numbers_when_the_section_is_blanked() {
        let text = put(Some(b"one\n"), "a\nb\n").expect("whole");
        let text = [&text[..], b"six\n"].concat();
        assert_eq!(blank(&text), Ok(b"one\n\n\n\n\nsix\n".to_vec()));
    }

    proptest! {
        #[test]
        fn arbitrary_text_survives_byte_for_byte(
            text in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'#')], 0..200),
            bodies in proptest::collection::vec("[a-z =\n]{0,40}", 1..4),
        ) {
            let mut now = text.clone();
            for body in &bodies {
                now = put(Some(&now), body).expect("whole");
                let again = put(Some(&now), body).expect("whole");
                prop_assert_eq!(&again, &now, "putting the same twice changes nothing");
                prop_assert!(now.starts_with(&text));
            }
            prop_assert_eq!(take_out(&now), Ok(Some(text)));
        }

        #[test]
        fn what_others_add_below_survives(before in "[a-z\n]{0,40}", after in "[a-z]{1,9}\n") {
            let now = put(Some(before.as_bytes()), "x").expect("whole");
            let now = put(Some(&[&now[..], after.as_bytes()].concat()), "y").expect("whole");
            let out = String::from_utf8(take_out(&now).expect("whole").expect("kept")).expect("text");
            prop_assert!(out.starts_with(&before) && out.ends_with(&after), "{}", out);
        }
    }
}
