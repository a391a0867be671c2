//! The writer: Nix's own spelling, without any white space.

use super::Derivation;
use crate::domain::{DerivationOutput, StoreDir};

impl Derivation {
    /// The `.drv` file.
    pub fn to_aterm(&self, dir: &StoreDir) -> Vec<u8> {
        let mut out = b"Derive(".to_vec();
        list(&mut out, &self.outputs, |out, (name, output)| {
            let DerivationOutput { path, hash_algo, hash } = output;
            let path = path.as_ref().map(|path| dir.full(path)).unwrap_or_default();
            tuple(out, &[name, &path, hash_algo, hash]);
        });
        out.push(b',');
        list(&mut out, &self.input_drvs, |out, (path, names)| {
            out.push(b'(');
            string(out, dir.full(path));
            out.push(b',');
            list(out, names, string);
            out.push(b')');
        });
        out.push(b',');
        list(&mut out, &self.input_srcs, |out, path| string(out, dir.full(path)));
        out.push(b',');
        string(&mut out, self.platform.as_str());
        out.push(b',');
        string(&mut out, &self.builder);
        out.push(b',');
        list(&mut out, &self.args, string);
        out.push(b',');
        list(&mut out, &self.env, |out, (name, value)| tuple(out, &[name, value]));
        out.push(b')');
        out
    }
}

fn list<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut item: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (n, each) in items.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        item(out, each);
    }
    out.push(b']');
}

fn tuple(out: &mut Vec<u8>, strings: &[&(impl AsRef<[u8]> + ?Sized)]) {
    out.push(b'(');
    for (n, each) in strings.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        string(out, each);
    }
    out.push(b')');
}

fn string(out: &mut Vec<u8>, bytes: impl AsRef<[u8]>) {
    out.push(b'"');
    for byte in bytes.as_ref() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            plain => out.push(*plain),
        }
    }
    out.push(b'"');
}
