//! `muster join`, from what was typed to what it means.

use crate::cli::{JoinArgs, Role};
use crate::domain::join::{BadJoin, HostName, Join, LoginServer, Minting, Tag};

use super::uri;

/// What is asked of the tailnet; `own_name` is this machine's.
pub fn join(args: &JoinArgs, own_name: &str) -> Result<Join, BadJoin> {
    let host_name = args.hostname.as_deref().unwrap_or(own_name);
    let tags = args.tags.iter().flat_map(|tags| tags.split(',')).map(Tag::parse);
    let ssh = args.ssh || (args.role == Role::Builder && !args.no_ssh);
    if let Some(operator) = &args.operator {
        uri::ssh::user_name(operator).map_err(|why| BadJoin::Operator(why.to_string()))?;
    }
    Ok(Join {
        host_name: HostName::parse(host_name)?,
        tags: tags.collect::<Result<_, _>>()?,
        login_server: args.login_server.as_deref().map(LoginServer::parse).transpose()?,
        ssh,
        is_open: ssh || args.role == Role::Builder,
        operator: args.operator.clone(),
        timeout: args.timeout,
    })
}

/// What a key shall allow that is made for this machine.
pub fn minting(args: &JoinArgs) -> Minting {
    Minting { ephemeral: !args.no_ephemeral, preauthorized: args.preauthorized }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn typed(line: &str) -> JoinArgs {
        let words = ["muster", "join"].into_iter().chain(line.split(' '));
        match Cli::try_parse_from(words).map(|cli| cli.command) {
            Ok(Command::Join(args)) => args,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_builder_lets_coordinators_in_and_a_coordinator_nobody() {
        let check = |line: &str, expected: (bool, bool)| {
            let join = join(&typed(line), "own.name").expect(line);
            assert_eq!((join.ssh, join.is_open), expected, "{line}");
        };
        check("--role builder", (true, true));
        check("--role builder --no-ssh", (false, true));
        check("--role coordinator", (false, false));
        check("--role coordinator --ssh", (true, true));
    }

    #[test]
    fn what_is_typed_is_checked_before_anybody_is_asked() {
        let good = join(&typed("--role builder --tag tag:a,tag:b --tag tag:c"), "b_1.example").expect("good");
        assert_eq!((good.tags.len(), good.host_name.as_str()), (3, "b-1-example"));
        for line in [
            "--role builder --tag a",
            "--role builder --hostname $(reboot)",
            "--role builder --login-server h.example",
            "--role builder --operator a;b",
        ] {
            assert!(join(&typed(line), "b1").is_err(), "{line}");
        }
    }
}
