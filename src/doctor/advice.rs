//! What to type, or to write into which file.

use super::fix::{Fix, here, say};
use super::host::{BadKey, Facts, Patient};
use super::ssh::{Attempt, KeyTrouble, Outcome, Settings};
use crate::wire::probe::Kvm;

fn settings(facts: &Facts) -> Option<&Settings> {
    facts.settings.as_ref()?.as_ref().ok()
}

/// Whom we log in as.
pub(super) fn user(facts: &Facts) -> &str {
    let reported = facts.report.as_ref().and_then(|report| report.as_ref().ok()?.user.as_deref());
    reported
        .or_else(|| Some(settings(facts)?.user.as_str()))
        .filter(|user| !user.is_empty())
        .unwrap_or("the ssh user")
}

/// As a word of a shell.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%~".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// `[-p PORT] USER@HOST` for ssh and its like.
fn place(patient: Patient<'_>) -> String {
    let port = patient.uri.port.map(|port| format!("-p {port} ")).unwrap_or_default();
    let user = patient.uri.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    format!("{port}{user}{}", patient.uri.host)
}

/// The URI with one parameter more, as the configuration takes it.
pub(super) fn uri_with(patient: Patient<'_>, parameter: &str) -> Fix {
    let uri = patient.uri.to_string();
    let mark = if uri.contains('?') { '&' } else { '?' };
    say("in the configuration: ").configuration(format!("uri = \"{uri}{mark}{parameter}\""))
}

pub(super) fn configuration(why: &str) -> Fix {
    match why.split_once("Bad owner or permissions on ") {
        Some((_, file)) => {
            let file = shell(file.split_whitespace().next().unwrap_or_default());
            here(format!("chown \"$(id -un)\" {file} && chmod 600 {file}"))
        }
        None => say("correct that line of ssh's configuration"),
    }
}

pub(super) fn address(patient: Patient<'_>) -> Fix {
    let host = &patient.uri.host;
    say("name its address in ssh's configuration: ")
        .here(format!("printf 'Host {host}\\n  HostName ADDRESS\\n' >> ~/.ssh/config"))
        .say(" (for a service: /etc/ssh/ssh_config)")
}

/// For all that is between us and a login.
pub(super) fn reaching(patient: Patient<'_>, facts: &Facts, attempt: &Attempt) -> Fix {
    let port = settings(facts).map_or(22, |settings| settings.port);
    match attempt.outcome {
        Outcome::Refused => say("start its ssh server: ").builder("systemctl enable --now ssh").say(format!(
            " (or sshd; on NixOS `services.openssh.enable = true;`). Where it listens at another port than {port}, say \
             so: uri = \"ssh-ng://{}:PORT\"",
            patient.uri.host
        )),
        Outcome::TimedOut | Outcome::Unreachable => say(format!(
            "see that the machine is on and that no firewall drops port {port} (on NixOS \
             `services.openssh.openFirewall = true;`): "
        ))
        .here(format!(
            "ping {}",
            shell(&settings(facts).map_or(patient.uri.host.clone(), |settings| settings.hostname.clone()))
        )),
        Outcome::Closed => say("its server hangs up at once: look there with `")
            .builder("journalctl -u ssh -u sshd -n 20")
            .say("` (fail2ban, MaxStartups and hosts.deny do that)"),
        Outcome::Penalized => say(
            "it turns our address away for a while, since logins from here have failed: wait a minute and ask again. To \
             be spared, on the builder: PerSourcePenaltyExemptList ADDRESS in /etc/ssh/sshd_config",
        ),
        Outcome::TooManyKeys => {
            let Fix { text, steps } = uri_with(patient, "ssh-key=/root/.ssh/id_ed25519");
            Fix { text: format!("name the one key: {text}"), steps }
        }
        Outcome::NoAgreement => say("its ssh server is too old or too strict for ours: update it"),
        _ => say("see what ssh says: ").here(format!("ssh -v {} true", place(patient))),
    }
}

pub(super) fn unknown(patient: Patient<'_>, attempt: &Attempt) -> Fix {
    vouch(say("if `"), patient, attempt)
}

fn vouch(fix: Fix, patient: Patient<'_>, attempt: &Attempt) -> Fix {
    let print = attempt.host_key.as_deref().unwrap_or("FINGERPRINT");
    fix.builder("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
        .say("` (or another type) on the builder prints the same: ")
        .here(format!("muster doctor {} --pin {print}", shell(patient.name)))
}

pub(super) fn changed(patient: Patient<'_>, facts: &Facts, attempt: &Attempt) -> Fix {
    let file = match &attempt.outcome {
        Outcome::ChangedHostKey { known: Some((file, _)) } => format!("-f {} ", shell(file)),
        _ => String::new(),
    };
    let known_as = settings(facts).map_or(patient.uri.host.clone(), Settings::known_as);
    let forget = say("if the new key is right: ").here(format!("ssh-keygen {file}-R {}", shell(&known_as)));
    vouch(forget.say(" and then, if `"), patient, attempt)
}

pub(super) fn pinned(patient: Patient<'_>, facts: &Facts) -> Fix {
    let (host, port) = settings(facts).map_or((patient.uri.host.as_str(), 22), |s| (&s.hostname, s.port));
    say("if the machine was installed anew, write its new key: host_key = \"$(")
        .here(format!("ssh-keyscan -p {port} {} | cut -d' ' -f2-", shell(host)))
        .say(")\"")
}

pub(super) fn key_found(path: &str, bad: &BadKey) -> String {
    match bad {
        BadKey::Missing { beside } if beside.is_empty() => format!("{path} is not there"),
        BadKey::Missing { beside } => {
            let others = beside.iter().map(String::as_str).take(3).collect::<Vec<_>>().join(", ");
            format!("{path} is not there, but beside it lies {others}")
        }
        BadKey::Unreadable(why) => format!("{path} cannot be read: {why}"),
        BadKey::TooOpen(mode) => format!("others may read {path} (mode {mode:04o}), so ssh will not"),
        BadKey::Public => format!("{path} is the public half; ssh needs the private one"),
    }
}

pub(super) fn key_fix(path: &str, bad: &BadKey) -> Fix {
    match bad {
        BadKey::Missing { beside } => match beside.first() {
            Some(other) => say("name that one: ")
                .configuration(format!("key = \"{other}\""))
                .say(format!(" in its [[builder]] (in a machines line: {other} as the third field)")),
            None => say("make one and give its public half to the builder: ")
                .here(format!("muster key --file {}", shell(path))),
        },
        BadKey::Unreadable(_) => own(path),
        BadKey::TooOpen(_) => here(format!("chmod 600 {}", shell(path))),
        BadKey::Public => {
            let private = path.strip_suffix(".pub").unwrap_or(path);
            say("name the private one: ").configuration(format!("key = \"{private}\""))
        }
    }
}

/// Only root gives files away.
fn own(path: &str) -> Fix {
    here(format!("sudo chown \"$(id -un)\" {0} && chmod 600 {0}", shell(path)))
}

/// What was found, and the fix.
pub(super) fn key_trouble(path: &str, trouble: KeyTrouble) -> (String, Fix) {
    let word = shell(path);
    match trouble {
        KeyTrouble::Missing => (format!("{path} is not there"), here(format!("muster key --file {word}"))),
        KeyTrouble::Unreadable => (format!("{path} cannot be read"), own(path)),
        KeyTrouble::TooOpen => {
            (format!("others may read {path}, so ssh will not"), here(format!("chmod 600 {word}")))
        }
        KeyTrouble::Invalid => (
            format!("{path} is no private key that ssh understands"),
            say("move it away and make a new one: ").here(format!("muster key --file {word}")),
        ),
        KeyTrouble::Passphrase => (
            format!("{path} needs a passphrase, and nobody is there to type it"),
            say("take the passphrase away: ")
                .here(format!("ssh-keygen -p -N '' -f {word}"))
                .say(format!(" (or, as a user with an agent: ssh-add {word})")),
        ),
        KeyTrouble::AgentRefused => (
            format!("the ssh agent does not sign with {path}"),
            say("unlock the agent, or name a key without a passphrase: ").here("muster key"),
        ),
    }
}

pub(super) fn denied(patient: Patient<'_>, facts: &Facts, attempt: &Attempt) -> Fix {
    let user = user(facts);
    let Some(key) =
        patient.uri.key.as_ref().map(|key| key.display().to_string()).or_else(|| attempt.accepted.clone())
    else {
        return match attempt.offered {
            0 => say("make a key and give its public half to the builder: ").here("muster key"),
            _ => say("give it one of our keys: ").here(format!("ssh-copy-id {}", place(patient))),
        };
    };
    say(format!("add the line of {key}.pub to the authorized keys of {user} on the builder: ")).here(format!(
        "ssh-copy-id -i {} {}",
        shell(&format!("{key}.pub")),
        place(patient)
    ))
}

pub(super) fn no_shell(facts: &Facts) -> Fix {
    let user = user(facts);
    say(format!("give {user} a login shell on the builder: "))
        .builder(format!("usermod -s /bin/sh {}", shell(user)))
}

pub(super) fn noise(patient: Patient<'_>, facts: &Facts) -> Fix {
    say("on the builder, let nothing print without a terminal: put `[ -t 1 ] || return` first in ~")
        .say(user(facts))
        .say("/.bashrc, or wherever `grep -n echo` finds it; `")
        .here(format!("ssh {} true", place(patient)))
        .say("` must print nothing")
}

pub(super) fn install(facts: &Facts) -> Fix {
    say("install Nix for all users there: ")
        .builder("curl -L https://nixos.org/nix/install | sh -s -- --daemon")
        .say(" (https://nixos.org/download says what that does, and other ways)")
        .say(format!("; or see that {} may read /nix/var/nix/profiles", user(facts)))
}

pub(super) fn daemon(patient: Patient<'_>) -> Fix {
    say("see what it says: ")
        .here(format!("ssh {} nix-daemon --stdio </dev/null", place(patient)))
        .say("; on the builder: ")
        .builder("systemctl restart nix-daemon")
}

/// A machines line for stock Nix.
pub(super) fn stock_line(patient: Patient<'_>, facts: &Facts) -> String {
    let user = patient.uri.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    let report = facts.report.as_ref().and_then(|report| report.as_ref().ok());
    let system =
        report.and_then(|report| report.system.clone()).map_or("-".to_owned(), |system| system.to_string());
    let key = patient.uri.key.as_ref().map_or("-".to_owned(), |key| key.display().to_string());
    format!("ssh://{user}{} {system} {key} 1 1", patient.uri.host)
}

pub(super) fn trusted_users(facts: &Facts) -> Fix {
    let user = user(facts);
    say("on the builder: ")
        .builder(format!(
            "echo 'extra-trusted-users = {user}' >> /etc/nix/nix.conf && systemctl restart nix-daemon"
        ))
        .say(format!(" (on NixOS `nix.settings.trusted-users = [ \"{user}\" ];`)"))
}

pub(super) fn features(missing: &str, state: Option<Kvm>) -> Fix {
    if missing.split(' ').any(|feature| feature == "kvm") && state != Some(Kvm::Yes) {
        return kvm(state).say("; or take kvm out of `features` and `mandatory`");
    }
    say("on the builder: ")
        .builder(format!(
            "echo 'extra-system-features = {missing}' >> /etc/nix/nix.conf && systemctl restart nix-daemon"
        ))
        .say("; or take it out of `features` and `mandatory`")
}

pub(super) fn kvm(state: Option<Kvm>) -> Fix {
    match state {
        Some(Kvm::Denied) => say("on the builder: ")
            .builder("chmod 666 /dev/kvm")
            .say(" (its udev rule: KERNEL==\"kvm\", MODE=\"0666\")"),
        _ => say("turn virtualisation on in its firmware, and on the builder: ")
            .builder("modprobe kvm_intel || modprobe kvm_amd"),
    }
}

pub(super) fn space() -> Fix {
    say("on the builder: ")
        .builder("nix-collect-garbage --delete-older-than 14d")
        .say(" (and `min-free = 10G` in its nix.conf)")
}

/// Where it is wrong: there, or here.
pub(super) fn clock() -> Fix {
    say("on the machine that is wrong: ").builder("timedatectl set-ntp true")
}
