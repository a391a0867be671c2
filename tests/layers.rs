//! Imports go one way. This reads every file under src and fails on an arrow that the table does not allow.
//!
//! A path counts wherever it stands: in a `use`, in code, in a macro's body, through `super` or through a name that was
//! imported before. Comments, strings and test modules don't count. Values of a type from a higher layer could still
//! be passed down without being named; that is what the table is not for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// Which layers a layer may name besides itself. `lib` and `main` hold the house together.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("nix", &["domain"]),
    ("policy", &["domain"]),
    ("wire", &["domain", "policy"]),
    ("simulate", &["domain", "policy", "wire"]),
    ("cli", &[]),
    ("action", &["domain"]),
    ("config", &["cli", "domain"]),
    ("doctor", &["config", "domain", "wire"]),
    ("render", &["config", "doctor", "domain", "policy"]),
    ("edge", &["action", "cli", "config", "doctor", "domain", "nix", "policy", "wire"]),
    ("coordinator", &["config", "domain", "edge", "nix", "policy", "render", "wire"]),
    ("connect", &["config", "domain", "edge", "nix", "wire"]),
    ("builder", &["domain", "edge", "policy", "render", "wire"]),
    (
        "commands",
        &[
            "action",
            "builder",
            "cli",
            "config",
            "connect",
            "coordinator",
            "doctor",
            "domain",
            "edge",
            "nix",
            "policy",
            "render",
            "simulate",
            "wire",
        ],
    ),
];

/// Layers that never touch the world.
const PURE: &[&str] = &["action", "domain", "nix", "policy", "wire", "cli", "doctor", "render", "simulate"];

/// What touches the world.
const WORLD: &[&str] = &[
    "rusqlite",
    "rustix",
    "sd_notify",
    "std::env",
    "std::fs",
    "std::io::stderr",
    "std::io::stdin",
    "std::io::stdout",
    "std::net",
    "std::os::unix::net",
    "std::os::unix::process",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "tempfile",
    "tokio::fs",
    "tokio::net",
    "tokio::process",
    "tokio::runtime",
    "tokio::signal",
    "tokio::spawn",
    "tokio::task",
    "tokio::time",
    "tokio_util::task",
    "tracing_subscriber",
];

#[test]
fn imports_go_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &src, &mut files);
    assert!(files.len() > 20, "the files of src are there");
    let wrong: Vec<String> = check(&files).iter().map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A file of src: its path there, and its text.
type File = (PathBuf, String);

fn collect(src: &Path, dir: &Path, files: &mut Vec<File>) {
    for entry in std::fs::read_dir(dir).expect("src can be listed") {
        let path = entry.expect("src can be listed").path();
        if path.is_dir() {
            collect(src, &path, files);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let text = std::fs::read_to_string(&path).expect("sources are text");
            files.push((path.strip_prefix(src).expect("below src").to_owned(), text));
        }
    }
}

/// A forbidden arrow.
#[derive(Debug, PartialEq)]
struct Arrow {
    file: PathBuf,
    line: usize,
    from: String,
    to: String,
}

impl fmt::Display for Arrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: {} -> {}", self.file.display(), self.line, self.from, self.to)
    }
}

fn check(files: &[File]) -> Vec<Arrow> {
    let parsed: Vec<_> =
        files.iter().map(|(file, text)| (file, Parsed::new(module_of(file), text))).collect();
    let tests: BTreeSet<_> = parsed.iter().flat_map(|(_, parsed)| &parsed.test_modules).collect();
    let is_test = |module: &[String]| (0..=module.len()).any(|end| tests.contains(&module[..end].to_vec()));
    let mut arrows = Vec::new();
    for (file, parsed) in &parsed {
        let module = module_of(file);
        let Some(layer) = module.first() else { continue };
        if ARROWS.iter().all(|(row, _)| row != layer) {
            let (from, to) = (layer.clone(), "nothing yet: the table has no row for it".to_owned());
            arrows.push(Arrow { file: file.to_path_buf(), line: 1, from, to });
            continue;
        }
        for found in parsed.paths.iter().filter(|found| !is_test(&found.module)) {
            for path in parsed.meanings(found) {
                if let Some(to) = forbidden(layer, &path) {
                    arrows.push(Arrow {
                        file: file.to_path_buf(),
                        line: found.line,
                        from: layer.clone(),
                        to,
                    });
                    break;
                }
            }
        }
    }
    arrows
}

/// `policy/event.rs` is `policy::event`; `lib.rs` and `main.rs` are the root.
fn module_of(file: &Path) -> Vec<String> {
    let path = file.with_extension("");
    let mut module: Vec<_> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if matches!(module.last().map(String::as_str), Some("lib" | "main" | "mod")) {
        module.pop();
    }
    module
}

/// What a layer must not name, if this path is that.
fn forbidden(layer: &str, path: &[String]) -> Option<String> {
    let full = path.join("::");
    if path[0] == "crate" {
        let allowed = ARROWS.iter().find(|(from, _)| *from == layer).map_or(&[][..], |(_, to)| to);
        return match path.get(1).map(String::as_str) {
            None => None,
            Some("*") => Some(full),
            Some(to) if to == layer || allowed.contains(&to) => None,
            // A macro or an item of the crate's root: there are none, so that this is a layer without a row.
            Some(_) => Some(full),
        };
    }
    let names = |world: &str| {
        let world: Vec<_> = world.split("::").collect();
        let glob =
            path.last().is_some_and(|last| last == "*") && world.starts_with_all(&path[..path.len() - 1]);
        glob || (path.len() >= world.len() && world.starts_with_all(&path[..world.len()]))
    };
    (PURE.contains(&layer) && WORLD.iter().any(|world| names(world))).then_some(full)
}

trait StartsWithAll {
    fn starts_with_all(&self, prefix: &[String]) -> bool;
}

impl StartsWithAll for Vec<&str> {
    fn starts_with_all(&self, prefix: &[String]) -> bool {
        prefix.len() <= self.len() && prefix.iter().zip(self).all(|(a, b)| a == b)
    }
}

/// A path as it is written, and where.
#[derive(Debug)]
struct Found {
    line: usize,
    module: Vec<String>,
    path: Vec<String>,
}

/// A file's paths, and what its imports make of them.
#[derive(Debug, Default)]
struct Parsed {
    paths: Vec<Found>,
    imports: BTreeMap<String, BTreeSet<Vec<String>>>,
    test_modules: BTreeSet<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Token {
    line: usize,
    word: String,
}

impl Parsed {
    fn new(module: Vec<String>, text: &str) -> Self {
        let tokens = tokens(&without_comments_and_strings(text));
        let mut parsed = Self::default();
        // Each open brace, and whether it opened a module.
        let mut braces: Vec<bool> = Vec::new();
        let (mut here, mut at, mut test) = (module, 0, false);
        while at < tokens.len() {
            let word = |ahead: usize| tokens.get(at + ahead).map_or("", |token| token.word.as_str());
            match word(0) {
                "#" => {
                    let end = at + closing(&tokens[at..], "[", "]");
                    let words: Vec<_> = tokens[at..end].iter().map(|token| token.word.as_str()).collect();
                    test |= words.contains(&"cfg") && words.contains(&"test") && !words.contains(&"not");
                    parsed.scan(&tokens[at..end], &here);
                    at = end;
                    continue;
                }
                "mod" if is_name(word(1)) && matches!(word(2), "{" | ";") => {
                    let child = [&here[..], &[word(1).to_owned()]].concat();
                    if test {
                        parsed.test_modules.insert(child.clone());
                    }
                    if word(2) == "{" {
                        braces.push(true);
                        here = child;
                    }
                    at += 2;
                }
                "{" => braces.push(false),
                "}" if braces.pop() == Some(true) => drop(here.pop()),
                "use" if word(1) != "<" => {
                    let length = tokens[at..].iter().take_while(|token| token.word != ";").count();
                    parsed.import(&tokens[at + 1..at + length], &here);
                    at += length;
                }
                "::" if is_name(word(1)) => {}
                name if is_name(name) => at += parsed.scan_one(&tokens[at..], &here) - 1,
                _ => {}
            }
            test &= matches!(tokens[at.min(tokens.len() - 1)].word.as_str(), "pub" | "(" | "crate" | ")");
            at += 1;
        }
        parsed
    }

    /// Every path in these tokens.
    fn scan(&mut self, tokens: &[Token], here: &[String]) {
        let mut at = 0;
        while at < tokens.len() {
            at += if is_name(&tokens[at].word) { self.scan_one(&tokens[at..], here) } else { 1 };
        }
    }

    /// The path that the tokens begin with; how many of them it has.
    fn scan_one(&mut self, tokens: &[Token], here: &[String]) -> usize {
        let mut path = vec![tokens[0].word.clone()];
        let mut length = 1;
        while let [colons, name, ..] = &tokens[length..]
            && colons.word == "::"
            && is_name(&name.word)
        {
            path.push(name.word.clone());
            length += 2;
        }
        if path.len() > 1 {
            self.found(tokens[0].line, path, here);
        }
        length
    }

    /// The tree of a `use`.
    fn import(&mut self, tokens: &[Token], here: &[String]) {
        let mut prefixes: Vec<Vec<String>> = vec![Vec::new()];
        let mut path: Vec<String> = Vec::new();
        let mut alias = None;
        let mut line = tokens.first().map_or(0, |token| token.line);
        let mut words = tokens.iter().peekable();
        while let Some(token) = words.next() {
            match token.word.as_str() {
                "::" => {}
                "{" => prefixes.push(std::mem::take(&mut path)),
                "as" => alias = words.next().map(|token| token.word.clone()),
                "," | "}" => {
                    self.imported(line, &prefixes.concat(), std::mem::take(&mut path), alias.take(), here);
                    if token.word == "}" {
                        prefixes.pop();
                    }
                }
                word => {
                    line = token.line;
                    path.push(word.to_owned());
                }
            }
        }
        self.imported(line, &prefixes.concat(), path, alias, here);
    }

    fn imported(
        &mut self,
        line: usize,
        prefix: &[String],
        path: Vec<String>,
        alias: Option<String>,
        here: &[String],
    ) {
        if path.is_empty() {
            return;
        }
        let mut full = [prefix, &path].concat();
        full.dedup_by(|word, before| word == "self" && before != "self");
        let name = alias.or_else(|| full.last().cloned()).unwrap_or_default();
        self.imports.entry(name).or_default().insert(resolved(&full, here));
        self.found(line, full, here);
    }

    fn found(&mut self, line: usize, path: Vec<String>, here: &[String]) {
        self.paths.push(Found { line, module: here.to_vec(), path: resolved(&path, here) });
    }

    /// The path itself, and what it stands for if its first name was imported.
    fn meanings(&self, found: &Found) -> Vec<Vec<String>> {
        let mut meanings = vec![found.path.clone()];
        for _ in 0..3 {
            let last = meanings.clone();
            for path in last {
                for import in self.imports.get(&path[0]).into_iter().flatten() {
                    let meant = [&import[..], &path[1..]].concat();
                    if import[0] != path[0] && !meanings.contains(&meant) {
                        meanings.push(meant);
                    }
                }
            }
        }
        meanings
    }
}

/// `self` and `super` at its beginning replaced by what they are in this module.
fn resolved(path: &[String], here: &[String]) -> Vec<String> {
    let mut module = here.to_vec();
    let mut rest = path;
    if !matches!(rest[0].as_str(), "self" | "super") {
        return path.to_vec();
    }
    while let Some((first, tail)) = rest.split_first()
        && matches!(first.as_str(), "self" | "super")
    {
        if first == "super" {
            module.pop();
        }
        rest = tail;
    }
    ["crate".to_owned()].into_iter().chain(module).chain(rest.iter().cloned()).collect()
}

/// How many tokens there are up to and with the bracket that closes the first one.
fn closing(tokens: &[Token], open: &str, close: &str) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        depth += i32::from(token.word == open) - i32::from(token.word == close);
        if depth == 0 && token.word == close {
            return at + 1;
        }
    }
    tokens.len()
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let name = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let length = match name {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                name => name,
            };
            let word = rest[..length].to_owned();
            tokens.push(Token { line: number + 1, word });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// The text with blanks in place of comments, strings and characters; lines stay where they are.
fn without_comments_and_strings(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let length = skipped(&chars, at);
        if length == 0 {
            out.push(chars[at]);
            at += 1;
        } else {
            let end = chars.len().min(at + length);
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// How long the comment, string or character is that begins here; 0 where none does.
fn skipped(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let in_name = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match rest {
        ['/', '/', ..] => rest.iter().take_while(|&&c| c != '\n').count(),
        ['/', '*', ..] => block_comment(rest),
        ['b' | 'c', 'r', '"' | '#', ..] if !in_name => 1 + raw_string(&rest[1..]),
        ['r', '"', ..] | ['r', '#', '"' | '#', ..] if !in_name => raw_string(rest),
        ['"', ..] => quoted(rest, '"'),
        ['\'', '\\', ..] | ['\'', _, '\'', ..] => quoted(rest, '\''),
        _ => 0,
    }
}

fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = rest.get(hashes + 2..).unwrap_or_default();
    let length = body.windows(end.len()).position(|window| window == end).unwrap_or(body.len());
    hashes + 2 + length + end.len()
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The arrows that are found in one file.
fn arrows(file: &str, text: &str) -> Vec<String> {
    check(&[(file.into(), text.to_owned())]).iter().map(ToString::to_string).collect()
}

fn found(file: &str, text: &str, expected: &[&str]) {
    assert_eq!(arrows(file, text), expected, "{text}");
}

#[test]
fn a_forbidden_arrow_is_found_however_it_is_written() {
    let check = |text: &str, expected: &str| found("policy/event.rs", text, &[expected]);
    check("use crate::edge;", "src/policy/event.rs:1: policy -> crate::edge");
    check("\n\nuse crate::edge::ssh::Ssh;", "src/policy/event.rs:3: policy -> crate::edge::ssh::Ssh");
    check("use crate::{domain, edge::x};", "src/policy/event.rs:1: policy -> crate::edge::x");
    check(
        "use crate::{\n  domain::{A, B},\n  nix::{self},\n};",
        "src/policy/event.rs:3: policy -> crate::nix",
    );
    check("fn f() {\n  crate::edge::go();\n}", "src/policy/event.rs:2: policy -> crate::edge::go");
    check(
        "macro_rules! m { () => { $crate::edge::go() } }",
        "src/policy/event.rs:1: policy -> crate::edge::go",
    );
    check("vec![crate::edge::go()];", "src/policy/event.rs:1: policy -> crate::edge::go");
    check("use super::super::edge;", "src/policy/event.rs:1: policy -> crate::edge");
    check("mod inner { use super::super::super::edge; }", "src/policy/event.rs:1: policy -> crate::edge");
    check("pub(in crate::edge) fn f() {}", "src/policy/event.rs:1: policy -> crate::edge");
    check("use crate::*;", "src/policy/event.rs:1: policy -> crate::*");
    check("use super::super::*;", "src/policy/event.rs:1: policy -> crate::*");
    check("use crate as c; fn f() { c::edge::go() }", "src/policy/event.rs:1: policy -> crate::edge::go");
    check(
        "use super::super as up; fn f() { up::edge::go() }",
        "src/policy/event.rs:1: policy -> crate::edge::go",
    );
    check("impl From<crate::edge::E> for X {}", "src/policy/event.rs:1: policy -> crate::edge::E");
    check("#[serde(with = x, crate::edge)] struct S;", "src/policy/event.rs:1: policy -> crate::edge");
    check("use crate::unheard_of;", "src/policy/event.rs:1: policy -> crate::unheard_of");
}

#[test]
fn the_world_is_found_in_pure_layers_however_it_is_written() {
    let check = |text: &str, to: &str| found("nix.rs", text, &[&format!("src/nix.rs:1: nix -> {to}")]);
    check("use tokio::{io, net};", "tokio::net");
    check("fn f() { tokio::spawn(async {}); }", "tokio::spawn");
    check("fn f() { ::std::fs::read(x); }", "std::fs::read");
    check("use std::time::{Duration, Instant};", "std::time::Instant");
    check("use std::time::*;", "std::time::*");
    check("use std::*;", "std::*");
    check("use std::time; fn f() { time::Instant::now() }", "std::time::Instant::now");
    check("use tokio as t; fn f() { t::fs::read() }", "tokio::fs::read");
    check("select! { _ = tokio::time::sleep(x) => {} }", "tokio::time::sleep");
    check("use std::os::unix::net::UnixStream;", "std::os::unix::net::UnixStream");
    check("#[cfg(not(test))] mod x { use std::fs; }", "std::fs");
}

#[test]
fn what_is_allowed_is_passed_over() {
    let check = |file: &str, text: &str| found(file, text, &[]);
    check(
        "policy/event.rs",
        "use crate::domain::{self, Time}; use super::snapshot; use crate::policy::State;",
    );
    check("policy.rs", "pub mod event; pub use event::Event; use self::event::Effect;");
    check(
        "nix/client.rs",
        "use tokio::io::{AsyncRead, AsyncWrite}; use std::time::Duration; tokio::join!(a, b);",
    );
    check("edge/ssh.rs", "use tokio::process::Command; use crate::nix::client;");
    check("lib.rs", "pub mod edge; use crate::edge::x;");
    check("main.rs", "use crate::commands;");
}

#[test]
fn comments_strings_and_tests_are_passed_over() {
    let check = |text: &str| found("policy.rs", text, &[]);
    check("// use crate::edge;\n/* crate::edge::a /* nested crate::edge::b */ std::fs */");
    check("//! [`crate::edge`]\n/// [`std::fs::read`]\nfn f() {}");
    check(
        r####"const A: &str = "use crate::edge; \" std::fs"; const B: &str = r#"crate::edge " std::fs"#;"####,
    );
    check(r#"const C: &[u8] = b"crate::edge"; const D: char = '"'; const E: char = '\''; // crate::edge"#);
    check("#[cfg(test)]\nmod tests { use std::fs; use crate::edge; mod deep { use std::net; } }");
    let files = [
        ("policy.rs".into(), "#[cfg(test)]\n#[expect(dead_code)]\npub(crate) mod world;".to_owned()),
        ("policy/world.rs".into(), "use std::fs; mod below { use crate::edge; }".to_owned()),
    ];
    assert_eq!(crate::check(&files), []);
}

#[test]
fn what_follows_a_string_a_lifetime_or_a_test_still_counts() {
    let check = |text: &str| found("policy.rs", text, &["src/policy.rs:1: policy -> crate::edge::x"]);
    check(r#"const A: &str = "\\"; use crate::edge::x;"#);
    check("fn f<'a>(x: &'a str) -> &'a str { crate::edge::x }");
    check("const A: char = '\"'; use crate::edge::x; const B: char = '\"';");
    check("#[cfg(test)] mod tests { mod a {} fn f() {} } use crate::edge::x;");
    check("#[cfg(test)] use crate::domain::A; mod a { use crate::edge::x; }");
    check(r##"const A: &str = r"\"; use crate::edge::x; const B: &str = r#""#;"##);
}

#[test]
fn a_layer_without_a_row_is_told_so_once() {
    let expected = "src/later/a.rs:1: later -> nothing yet: the table has no row for it";
    found("later/a.rs", "use crate::domain; use crate::edge;", &[expected]);
}

#[test]
fn every_row_allows_only_rows_above_it_so_that_there_is_no_circle() {
    for (row, (from, to)) in ARROWS.iter().enumerate() {
        for to in *to {
            assert!(ARROWS[..row].iter().any(|(above, _)| above == to), "{from} -> {to}");
        }
    }
}
