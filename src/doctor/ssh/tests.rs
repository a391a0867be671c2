use proptest::prelude::*;

use super::*;

const PRINT: &str = "SHA256:uNiVztksCsDhcc0u9e8BrvA8RE8Il5bXbXwVdGhyR5s";
const DENIED: &str = "eva@h: Permission denied (publickey,password).";

fn outcome_is(said: &str, expected: Outcome) {
    assert_eq!(Attempt::read(said).outcome, expected, "{said}");
}

fn key_is(said: &str, path: &str, expected: KeyTrouble) {
    assert_eq!(Attempt::read(said).keys, [(path.to_owned(), expected)], "{said}");
}

#[test]
fn why_nobody_was_reached_is_told_apart() {
    let check = outcome_is;
    check("ssh: Could not resolve hostname b9: Name or service not known", Outcome::Unresolved);
    check(
        "ssh: Could not resolve hostname b9: nodename nor servname provided, or not known",
        Outcome::Unresolved,
    );
    check("ssh: Could not resolve hostname b9: Temporary failure in name resolution", Outcome::Unresolved);
    check("ssh: connect to host h port 22: Connection refused\r", Outcome::Refused);
    check("ssh: connect to host h port 22: Connection timed out", Outcome::TimedOut);
    check("ssh: connect to host h port 22: Operation timed out", Outcome::TimedOut);
    check(
        "Connection timed out during banner exchange\nConnection to 1.2.3.4 port 22 timed out",
        Outcome::TimedOut,
    );
    check("ssh: connect to host h port 22: No route to host", Outcome::Unreachable);
    check(
        "debug1: kex_exchange_identification: banner line 0: Not allowed at this time\n\
         kex_exchange_identification: Connection closed by remote host",
        Outcome::Penalized,
    );
    check("ssh: connect to host h port 22: Network is unreachable", Outcome::Unreachable);
    check(
        "kex_exchange_identification: Connection closed by remote host\nConnection closed by ::1 port 22",
        Outcome::Closed,
    );
    check(
        "kex_exchange_identification: read: Connection reset by peer\nConnection reset by ::1 port 22",
        Outcome::Closed,
    );
    check(
        "Unable to negotiate with 1.2.3.4 port 22: no matching host key type found. Their offer: ssh-rsa",
        Outcome::NoAgreement,
    );
    check(
        "/root/.ssh/config: line 3: Bad configuration option: hostnme\n/root/.ssh/config: terminating, 1 bad configuration options",
        Outcome::BadConfiguration,
    );
    check("Bad owner or permissions on /root/.ssh/config", Outcome::BadConfiguration);
    check("", Outcome::Other);
    check("muttering of another age", Outcome::Other);
}

#[test]
fn host_keys_are_unknown_changed_or_revoked() {
    let unknown = format!(
        "debug1: Server host key: ssh-ed25519 {PRINT}\r\n\
         No ED25519 host key is known for [h]:2299 and you have requested strict checking.\nHost key verification failed."
    );
    outcome_is(&unknown, Outcome::UnknownHostKey);
    assert_eq!(Attempt::read(&unknown).host_key.as_deref(), Some(PRINT));
    outcome_is("Host key verification failed.", Outcome::UnknownHostKey);

    let changed = format!(
        "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n{PRINT}.\nPlease contact your system administrator.\n\
         Offending ED25519 key in /root/.ssh/known_hosts:12\n  remove with:\n\
         Host key for h has changed and you have requested strict checking.\nHost key verification failed."
    );
    let known = Some(("/root/.ssh/known_hosts".to_owned(), 12));
    outcome_is(&changed, Outcome::ChangedHostKey { known });
    assert_eq!(Attempt::read(&changed).host_key.as_deref(), Some(PRINT));
    outcome_is(
        "REMOTE HOST IDENTIFICATION HAS CHANGED\nOffending key",
        Outcome::ChangedHostKey { known: None },
    );

    let revoked = "@  WARNING: REVOKED HOST KEY DETECTED!  @\nHost key h was revoked and you have requested strict checking.\nHost key verification failed.";
    outcome_is(revoked, Outcome::RevokedHostKey);
}

#[test]
fn being_denied_names_the_key_that_was_no_use() {
    let check = |line: &str, path: &str, trouble| key_is(&format!("{line}\n{DENIED}"), path, trouble);
    check("Load key \"/k\": bad permissions", "/k", KeyTrouble::TooOpen);
    check("Permissions 0644 for '/my k' are too open.", "/my k", KeyTrouble::TooOpen);
    check("Load key \"/k\": Permission denied", "/k", KeyTrouble::Unreadable);
    check("Load key \"/k\": invalid format", "/k", KeyTrouble::Invalid);
    check("Load key \"/k\": error in libcrypto", "/k", KeyTrouble::Invalid);
    check(
        "Load key \"/k\": incorrect passphrase supplied to decrypt private key",
        "/k",
        KeyTrouble::Passphrase,
    );
    check("Warning: Identity file /k not accessible: No such file or directory.", "/k", KeyTrouble::Missing);
    check("Warning: Identity file /k not accessible: Permission denied.", "/k", KeyTrouble::Unreadable);
    check("no such identity: /k: No such file or directory", "/k", KeyTrouble::Missing);
    check("Enter passphrase for key '/k': ", "/k", KeyTrouble::Passphrase);
    check(
        "sign_and_send_pubkey: signing failed for ED25519 \"eva@x\" from agent: agent refused operation",
        "eva@x",
        KeyTrouble::AgentRefused,
    );
    outcome_is(DENIED, Outcome::Denied);
    outcome_is(
        "Received disconnect from h port 22:2: Too many authentication failures\nDisconnected",
        Outcome::TooManyKeys,
    );
}

#[test]
fn a_welcome_key_that_does_not_get_us_in_wants_a_passphrase() {
    let said = format!(
        "debug1: Offering public key: /my k ED25519 {PRINT} explicit\ndebug1: Server accepts key: /my k ED25519 {PRINT} explicit\n\
         debug1: No more authentication methods to try.\n{DENIED}"
    );
    key_is(&said, "/my k", KeyTrouble::Passphrase);
    let attempt = Attempt::read(&said);
    assert_eq!(
        (attempt.offered, attempt.accepted.as_deref(), attempt.last.as_str()),
        (1, Some("/my k"), DENIED)
    );
    let open = format!("{said}\nLoad key \"/my k\": bad permissions\n{DENIED}");
    key_is(&open, "/my k", KeyTrouble::TooOpen);
}

#[test]
fn being_in_is_heard_in_old_and_new_words() {
    for said in [
        "Authenticated to h ([1.2.3.4]:22) using \"publickey\".",
        "debug1: Authentication succeeded (publickey).",
        "debug1: Entering interactive session.",
    ] {
        outcome_is(said, Outcome::LoggedIn);
    }
}

proptest! {
    #[test]
    fn whatever_a_server_says_the_reading_stays_small(said in "(\\PC|\n){0,2000}") {
        let attempt = Attempt::read(&said);
        prop_assert!(attempt.last.chars().count() <= 300);
        prop_assert!(attempt.keys.iter().all(|(path, _)| path.chars().count() <= 300));
    }
}
