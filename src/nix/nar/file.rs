//! The content of an archive that is one plain file.

use super::{MAGIC, Walker, padding};

/// What is in the file; none where the archive is another node, or is not whole. The archive is in memory already.
pub fn plain_file(nar: &[u8]) -> Option<&[u8]> {
    let fed = Walker::new().feed(nar).ok()?;
    if !fed.done || fed.consumed != nar.len() {
        return None;
    }
    let mut tokens = Tokens(nar);
    let begins = [MAGIC, b"(", b"type", b"regular"].iter().all(|word| tokens.next() == Some(word));
    match tokens.next().filter(|_| begins)? {
        b"executable" => tokens.nth(2),
        _ => tokens.next(),
    }
}

/// The tokens of an archive whose grammar was looked at before.
struct Tokens<'a>(&'a [u8]);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk()?;
        let length = u64::from_le_bytes(*length);
        let (token, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest.get(usize::from(padding(length))..)?;
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Node;
    use super::*;

    #[test]
    fn a_plain_file_is_taken_out_of_its_nar_executable_or_not() {
        for content in ["", "1234567", "Derive(...)", "contents"] {
            let nar = Node::file(content).to_nar();
            assert_eq!(plain_file(&nar), Some(content.as_bytes()));
        }
        let token = |word: &[u8]| {
            let padded = vec![0; usize::from(padding(word.len() as u64))];
            [&(word.len() as u64).to_le_bytes()[..], word, &padded].concat()
        };
        let words: [&[u8]; 9] =
            [MAGIC, b"(", b"type", b"regular", b"executable", b"", b"contents", b"#!/bin/sh", b")"];
        let nar: Vec<u8> = words.iter().flat_map(|word| token(word)).collect();
        assert_eq!(plain_file(&nar), Some(&b"#!/bin/sh"[..]));
        let words: [&[u8]; 7] = [MAGIC, b"(", b"type", b"symlink", b"target", b"elsewhere", b")"];
        let nar: Vec<u8> = words.iter().flat_map(|word| token(word)).collect();
        assert_eq!(plain_file(&nar), None);
    }

    #[test]
    fn what_is_cut_off_or_goes_on_is_no_file() {
        let nar = Node::file("Derive(...)").to_nar();
        (0..nar.len()).for_each(|end| assert_eq!(plain_file(&nar[..end]), None, "{end}"));
        assert_eq!(plain_file(&[&nar[..], &[0]].concat()), None);
    }
}
