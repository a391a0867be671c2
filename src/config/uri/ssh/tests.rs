use proptest::prelude::*;

use super::*;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDnCQXlllHoLX5EvU+t6yP/npsmuxKt0skHVeJashizE";

fn plain(scheme: SshScheme, user: Option<&str>, host: &str, port: Option<u16>) -> SshUri {
    SshUri {
        scheme,
        user: user.map(str::to_owned),
        host: host.to_owned(),
        port,
        key: None,
        host_key: None,
        remote_program: Vec::new(),
        remote_store: None,
        compress: false,
        admission: None,
    }
}

#[test]
fn hosts_are_written_as_for_nix_and_as_for_ssh() {
    let check = |text: &str, expected| assert_eq!(SshUri::parse(text), Ok(expected), "{text}");
    use SshScheme::{Bare, Ssh, SshNg};
    check("host", plain(Bare, None, "host", None));
    check("ssh://host", plain(Ssh, None, "host", None));
    check("ssh-ng://remotebuild@remotebuilder", plain(SshNg, Some("remotebuild"), "remotebuilder", None));
    check("user@host.example.org:2222", plain(Bare, Some("user"), "host.example.org", Some(2222)));
    check("eva@CORP@my_alias", plain(Bare, Some("eva@CORP"), "my_alias", None));
    check("ssh-ng://[2001:db8::1]:22/", plain(SshNg, None, "2001:db8::1", Some(22)));
    check("2001:db8::1", plain(Bare, None, "2001:db8::1", None));
    check("root@[fe80::1%25eth0]", plain(Bare, Some("root"), "fe80::1%eth0", None));
}

#[test]
fn parameters_are_nixs() {
    let key = data_encoding::BASE64.encode(format!("{KEY} comment\n").as_bytes());
    let text = format!(
        "ssh-ng://h?ssh-key=/root/.ssh/a%20b&base64-ssh-public-host-key={key}&remote-program=sudo%20/opt/nix-daemon\
         &remote-store=local?root=/srv/x&compress=true"
    );
    let uri = SshUri::parse(&text).expect("good");
    assert_eq!(uri.key.as_deref(), Some(Path::new("/root/.ssh/a b")));
    assert_eq!(uri.host_key.map(|key| key.to_string()).as_deref(), Some(KEY));
    assert_eq!(uri.remote_program, ["sudo", "/opt/nix-daemon"]);
    assert_eq!(uri.remote_store.as_deref(), Some("local?root=/srv/x"));
    assert!(uri.compress);
}

#[test]
fn whatever_could_reach_a_shell_or_sshs_options_is_refused_by_name() {
    let check = |text: &str, part: &str| {
        let error = SshUri::parse(text).expect_err(text).to_string();
        assert!(error.starts_with(&format!("'{part}' of")), "{error}");
    };
    check("-oProxyCommand=x", "-oProxyCommand=x");
    check("a b", "a b");
    check("a%0ab", "a%0ab");
    check("$(id)", "$(id)");
    check("-l@host", "-l");
    check("a`id`@host", "a`id`");
    check("", "");
    check("ssh://", "");
    check("@host", "");
    check("host:", "");
    check("host:0", "0");
    check("host:65536", "65536");
    check("host:+1", "+1");
    check("[::1", "[::1");
    check("[::1]x", "x");
    check("[host:1]", "host:1");
    check("1:2:3", "1:2:3");
    check("h?ssh-key=relative", "ssh-key=relative");
    check("h?ssh-key=/a%22b", "ssh-key=/a%22b");
    check("h?ssh-key=/${HOME}", "ssh-key=/${HOME}");
    check("h?remote-program=-x", "remote-program=-x");
    check("h?remote-program=a'b", "remote-program=a'b");
    check("h?remote-store=a%0ab", "remote-store=a%0ab");
    check("h?compress=maybe", "compress=maybe");
    check("h?base64-ssh-public-host-key=x", "base64-ssh-public-host-key=x");
    check("h?max-jobs=3", "max-jobs=3");
    check("h?compress=true&compress=true", "compress=true");
}

proptest! {
    #[test]
    fn every_uri_survives_its_text(
        user in proptest::option::of("[a-z][a-z0-9._@+-]{0,9}"),
        host in "[a-z0-9][a-z0-9._-]{0,20}|[0-9a-f]{1,4}::[0-9a-f]{1,4}",
        port in proptest::option::of(1_u16..),
        key in proptest::option::of("/[a-zé %&?=#]{0,20}"),
        store in proptest::option::of("[a-z?=/&% ]{1,20}"),
        program in proptest::collection::vec("[a-z/][a-z/$;-]{0,9}", 0..3),
        compress: bool,
        pinned: bool,
    ) {
        let uri = SshUri {
            key: key.map(PathBuf::from),
            remote_store: store,
            remote_program: program,
            host_key: pinned.then(|| HostKey::parse(KEY).expect("a key")),
            compress,
            ..plain(SshScheme::SshNg, user.as_deref(), &host, port)
        };
        prop_assert_eq!(SshUri::parse(&uri.to_string()), Ok(uri));
    }

    #[test]
    fn no_text_breaks_the_parser_and_no_host_begins_with_a_dash(text in "(ssh-ng://)?\\PC{0,60}") {
        if let Ok(uri) = SshUri::parse(&text) {
            prop_assert!(!uri.host.starts_with('-'));
            prop_assert!(!uri.user.unwrap_or_default().starts_with('-'));
        }
    }
}
