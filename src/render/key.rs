//! `muster key`.

/// What to do with a new key pair.
pub fn made(file: &str, public: &str, configuration: &str) -> String {
    let line = authorized(public);
    let bound = bound(public);
    format!(
        "{file} is a new key without a passphrase: nobody is there to type one.

On each builder, add this line to ~USER/.ssh/authorized_keys, where USER is whom builds come in as:

  {line}

on NixOS:

  users.users.USER.openssh.authorizedKeys.keys = [ \"{line}\" ];

Here, in {configuration}:

  [[builder]]
  uri = \"ssh-ng://USER@HOST\"
  key = \"{file}\"

or in a machines line of Nix, as its third field. Then see what is still missing: muster doctor HOST

`restrict` leaves nothing of ssh but running commands. `port-forwarding` adds the way to the daemon's socket, over which
builds share one connection (its sshd must not say `AllowStreamLocalForwarding no`); without it they cost a session each.

Where muster is installed on the builder, this line lets the key build there and nothing else:

  {bound}
"
    )
}

/// The line of `authorized_keys`.
fn authorized(public: &str) -> String {
    format!("restrict,port-forwarding {public}")
}

/// The same for a builder that has muster.
fn bound(public: &str) -> String {
    format!("restrict,command=\"muster builder serve\" {public}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_to_paste_name_the_key() {
        let text = made("/etc/muster/ssh/id_ed25519", "ssh-ed25519 AAAA muster@h", "/etc/muster/config.toml");
        assert!(text.contains("\n  restrict,port-forwarding ssh-ed25519 AAAA muster@h\n"), "{text}");
        assert!(
            text.contains("\n  restrict,command=\"muster builder serve\" ssh-ed25519 AAAA muster@h\n"),
            "{text}"
        );
        assert!(text.contains("\n  key = \"/etc/muster/ssh/id_ed25519\"\n"), "{text}");
    }
}
