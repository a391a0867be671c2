//! What the demo builds: 4 sources, 24 objects, 8 libraries, 6 programs, 1 release, as an expression without Nixpkgs.
//!
//! An output holds its inputs' paths and their whole content, and a digest over all of it. So nothing can be built
//! before what it needs, and what each output must be is computed here a second time.

use std::collections::BTreeMap;
use std::fmt::Write;

use sha2::{Digest, Sha256};

/// How often each digest is taken, so that there is something to compute.
const ROUNDS: usize = 20;

/// What `/bin/sh` does for each derivation. [`contents`] does the same.
const SCRIPT: &str = r#"
      { echo "$name"; for input in $inputs; do echo "from $input"; cat "$input"; done; } > "$out"
      digest= round=0
      while [ "$round" -lt "$rounds" ]; do
        digest=$({ echo "$digest"; cat "$out"; } | sha256sum | cut -c 1-64)
        round=$((round + 1))
      done
      sleep "$seconds"
      echo "digest $digest" >> "$out"
      echo "$name has digest $digest"
"#;

/// One derivation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name, which is also its attribute.
    pub name: String,
    /// Where its inputs stand in the graph; all stand before it.
    pub inputs: Vec<usize>,
    /// How long it sleeps, in tenths of a second.
    pub tenths: u32,
}

/// The whole graph, inputs before what needs them; the last one needs all others.
pub fn graph() -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut layer = |what: &str, count: usize, tenths: u32, inputs: &dyn Fn(usize) -> Vec<usize>| {
        let first = nodes.len();
        for at in 0..count {
            let width = if count < 10 { 1 } else { 2 };
            let name = if count == 1 { what.to_owned() } else { format!("{what}-{:0width$}", at + 1) };
            // Not all alike, or they would all end together.
            let tenths = tenths + u32::try_from(at % 5).unwrap_or(0);
            nodes.push(Node { name, inputs: inputs(at), tenths });
        }
        first
    };
    let sources = layer("source", 4, 8, &|_| Vec::new());
    let objects = layer("object", 24, 13, &|at| vec![sources + at / 6]);
    let libraries = layer("library", 8, 11, &|at| (0..3).map(|part| objects + 3 * at + part).collect());
    let programs = layer("program", 6, 11, &|at| (0..3).map(|part| libraries + (at + part) % 8).collect());
    layer("release", 1, 6, &|_| (programs..programs + 6).collect());
    nodes
}

/// The expression, an attribute for each derivation.
pub fn expression(nodes: &[Node]) -> String {
    let mut text = format!(
        "let\n  make = name: seconds: inputs: derivation {{\n    inherit name seconds inputs;\n    \
         system = builtins.currentSystem;\n    rounds = \"{ROUNDS}\";\n    builder = \"/bin/sh\";\n    \
         args = [ \"-euc\" ''{SCRIPT}    '' ];\n  }};\nin rec {{\n"
    );
    for node in nodes {
        let inputs: Vec<&str> = node.inputs.iter().map(|&at| nodes[at].name.as_str()).collect();
        let (whole, tenth) = (node.tenths / 10, node.tenths % 10);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  {name} = make \"{name}\" \"{whole}.{tenth}\" [ {} ];",
            inputs.join(" "),
            name = node.name
        );
    }
    text + "}\n"
}

/// What each output must hold, by name, where `paths` says where each output lies.
pub fn contents(nodes: &[Node], paths: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut contents: BTreeMap<String, String> = BTreeMap::new();
    for node in nodes {
        let mut text = format!("{}\n", node.name);
        for input in node.inputs.iter().map(|&at| &nodes[at].name) {
            let path = paths.get(input).map_or("", String::as_str);
            let content = contents.get(input).map_or("", String::as_str);
            let _ = write!(text, "from {path}\n{content}");
        }
        let digest = (0..ROUNDS).fold(String::new(), |digest, _| {
            let round = Sha256::new().chain_update(format!("{digest}\n")).chain_update(&text).finalize();
            data_encoding::HEXLOWER.encode(&round)
        });
        let _ = writeln!(text, "digest {digest}");
        contents.insert(node.name.clone(), text);
    }
    contents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_leads_to_the_release_and_inputs_come_first() {
        let nodes = graph();
        assert_eq!(nodes.len(), 43);
        let mut used = vec![false; nodes.len()];
        for (at, node) in nodes.iter().enumerate() {
            for &input in &node.inputs {
                assert!(input < at, "{node:?}");
                used[input] = true;
            }
        }
        let unused: Vec<_> = nodes.iter().zip(used).filter(|(_, used)| !used).collect();
        assert_eq!(unused.len(), 1);
        assert_eq!(unused[0].0.name, "release");
    }

    #[test]
    fn the_expression_names_every_derivation_and_its_inputs() {
        let text = expression(&graph());
        assert!(text.contains("\n  object-07 = make \"object-07\" \"1.4\" [ source-2 ];\n"), "{text}");
        assert!(text.contains("library-8 = make \"library-8\" \"1.3\" [ object-22 object-23 object-24 ];"));
        assert!(text.contains("[ program-1 program-2 program-3 program-4 program-5 program-6 ];\n}\n"));
    }

    #[test]
    fn a_content_holds_its_inputs_and_changes_with_their_paths() {
        let nodes = graph();
        let at = |path: &str| contents(&nodes, &[("source-1".to_owned(), path.to_owned())].into());
        let (one, other) = (at("/nix/store/a"), at("/nix/store/b"));
        assert!(one["object-01"].contains("from /nix/store/a\n"));
        assert!(one["object-01"].contains(&one["source-1"]));
        assert_ne!(one["release"], other["release"]);
        assert_eq!(one["program-4"], other["program-4"]);
    }
}
