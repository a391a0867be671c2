//! What Tailscale SSH says when the tailnet's policy does not let us in.

use super::trouble::SshError;
use crate::config::SshUri;

/// What the banner of a denial says.
const DENIED: &str = "tailnet policy does not permit you to SSH";
/// What the banner says before somebody must look at a page in a browser.
const CHECK: [&str; 2] = ["requires an additional check", "https://login.tailscale.com/a/"];

impl SshError {
    /// Why Tailscale SSH let us not in, if that is what happened; `said` is what ssh has said so far.
    pub(super) fn of_tailnet(uri: &SshUri, said: &str) -> Option<Self> {
        let denial = said.lines().find(|line| line.contains(DENIED));
        if let Some(denial) = denial {
            let said = denial.trim().trim_start_matches("tailscale: ");
            return Some(Self::Policy { said: clip(said), rule: rule(uri) });
        }
        let check = CHECK.iter().any(|text| said.contains(text));
        let page = || said.split_whitespace().find(|word| word.starts_with("https://")).map(clip);
        check.then(|| Self::Check { page: page(), rule: rule(uri) })
    }
}

/// The rule that lets us in, as the policy's file has it.
fn rule(uri: &SshUri) -> String {
    let (source, destination) = match &uri.admission {
        Some(admission) => (admission.source.as_str(), admission.destination.as_str()),
        None => ("TAG OR OWNER OF THIS MACHINE", "TAG OF THE BUILDER"),
    };
    let user = uri.user.as_deref().unwrap_or("root");
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    format!(
        r#"{{"action": "accept", "src": [{}], "dst": [{}], "users": [{}]}}"#,
        quoted(source),
        quoted(destination),
        quoted(user)
    )
}

fn clip(text: &str) -> String {
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BuilderUri;
    use crate::domain::Admission;

    fn uri(admission: Option<Admission>) -> SshUri {
        let Ok(BuilderUri::Ssh(uri)) = BuilderUri::parse("root@100.64.0.2") else { panic!("a good URI") };
        SshUri { admission, ..uri }
    }

    fn said(admission: Option<Admission>, said: &str) -> Option<String> {
        SshError::of_tailnet(&uri(admission), said).map(|error| error.to_string())
    }

    #[test]
    fn a_denial_names_the_rule_to_add() {
        let banner = "tailscale: tailnet policy does not permit you to SSH as user \"root\"\r\n\
                      Connection closed by 100.64.0.2 port 22\r\n";
        let admission = Admission { source: "tag:ci".to_owned(), destination: "tag:nix-builder".to_owned() };
        let error = said(Some(admission), banner).expect("a denial");
        let rule =
            r#"{"action": "accept", "src": ["tag:ci"], "dst": ["tag:nix-builder"], "users": ["root"]}"#;
        assert!(error.contains(rule) && error.contains(r#"SSH as user "root""#), "{error}");
        let error = said(None, "tailscale: tailnet policy does not permit you to SSH to this node")
            .expect("a denial");
        assert!(error.contains("to this node") && error.contains("TAG OF THE BUILDER"), "{error}");
    }

    #[test]
    fn a_check_in_a_browser_is_told_with_its_page() {
        let banner = "# Tailscale SSH requires an additional check.\n\
                      # To authenticate, visit: https://login.tailscale.com/a/1b2c3d\n";
        let error = said(None, banner).expect("a check");
        assert!(
            error.contains("https://login.tailscale.com/a/1b2c3d") && error.contains("accept"),
            "{error}"
        );
    }

    #[test]
    fn what_other_servers_say_is_none_of_this() {
        for text in ["", "root@100.64.0.2: Permission denied (publickey).", "see https://example.org/"] {
            assert_eq!(said(None, text), None, "{text}");
        }
    }
}
