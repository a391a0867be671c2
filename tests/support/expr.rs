//! Nix expressions without Nixpkgs.

use std::collections::BTreeMap;

/// One derivation, built by the sandbox's `/bin/sh`, which is busybox with all its commands.
#[derive(Debug, Clone)]
pub struct Drv {
    name: String,
    attributes: BTreeMap<String, String>,
    script: String,
}

impl Drv {
    /// `script` writes `$out`.
    pub fn new(name: &str, script: &str) -> Self {
        let attributes = BTreeMap::from([("system".to_owned(), format!("\"{}\"", system()))]);
        Self { name: name.to_owned(), attributes, script: script.to_owned() }
    }

    /// Adds or replaces an attribute; the value is an expression.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.attributes.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The derivation as an expression. `mark` stands in the command line of its process.
    pub fn expression(&self, mark: &str) -> String {
        let attributes: String =
            self.attributes.iter().map(|(name, value)| format!("  {name} = {value};\n")).collect();
        // Structured attributes put outputs into a file; plain ones into the environment, which is what scripts want.
        let script = format!(": {mark} {}; {}", self.name, self.script).replace("''", "'''");
        format!(
            "derivation {{\n  name = \"{}\";\n  builder = \"/bin/sh\";\n  args = [ \"-c\" ''{script}'' ];\n{attributes}}}",
            self.name
        )
    }
}

/// This machine's.
pub fn system() -> String {
    format!("{}-linux", std::env::consts::ARCH)
}

/// `let NAME = ...; in [ all ]`: derivations may name each other in their attributes.
pub fn all(mark: &str, drvs: &[Drv]) -> String {
    let bindings: String =
        drvs.iter().map(|drv| format!("{} = {};\n", drv.name, drv.expression(mark))).collect();
    let names: Vec<&str> = drvs.iter().map(|drv| drv.name.as_str()).collect();
    format!("let\n{bindings}in [ {} ]\n", names.join(" "))
}
