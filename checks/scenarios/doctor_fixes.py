"""Does doctor name each thing that can be wrong, and is it right again once what doctor printed is typed?"""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from lib import CONFIG, Coordinator, Machine, subtest, write

needs = ("uri:ssh-ng://remotebuild@b1", "command:doctor")
KEY = "/root/.ssh/remotebuild"
TABLE = {"name": "b1", "uri": "ssh-ng://remotebuild@b1", "key": KEY}
nodes = {
    # No setting leads Nix to muster yet.
    "localmachine": {"role": "coordinator", "nix_conf": {"builders": ""}},
    "b1": {"role": "builder", "access": "ssh"},
}
limit_seconds = 300
INSTALLER = "test $1 = --daemon && mv /root/nix/nix* /usr/bin && systemctl start nix-daemon"


class Patient:
    """A builder, or without a name this machine, as `muster doctor` sees it."""

    def __init__(self, machine: Machine, name: str = "b1", command: str = "") -> None:
        self.machine, self.name, self.command = machine, name, command

    def checks(self) -> dict[str, dict[str, Any]]:
        """By their names; the programs' form and the people's are the same checks."""
        said = self.machine.execute(f"{self.command}muster doctor --json {self.name}")[1]
        subjects = [subject for subject in json.loads(said)["subjects"] if (subject["builder"] or "") == self.name]
        return {check["name"]: check for check in subjects[0]["checks"]}

    def fix(self, name: str, found: str, pattern: str, verdict: str = "fail") -> str:
        """What is to be written for that check, cut out of its fix by a pattern."""
        check = self.wrong(name, found, verdict)
        typed = re.search(pattern, check["fix"])
        assert typed, f"{check['fix']!r} has no {pattern!r}"
        return typed[0]

    def steps(self, name: str, found: str, place: str, verdict: str = "fail") -> list[str]:
        """What is to be typed there, word for word: here, on the builder, or into the configuration."""
        check = self.wrong(name, found, verdict)
        typed: list[str] = [step["text"] for step in check.get("steps", []) if step["place"] == place]
        assert typed and all(text in check["fix"] for text in typed), check
        return typed

    def wrong(self, name: str, found: str, verdict: str) -> dict[str, Any]:
        check = self.checks()[name]
        assert check["verdict"] == verdict and re.search(found, check["found"]), check
        return check

    def is_well(self, name: str) -> None:
        checks = self.checks()
        assert checks[name]["verdict"] == "ok", [check for check in checks.values() if check["verdict"] != "ok"]


def script(localmachine: Machine, b1: Machine) -> None:
    localmachine.start()
    b1.start()
    coordinator = Coordinator(localmachine)
    coordinator.configure(builders=[TABLE])
    localmachine.succeed(f"mkdir -p /etc/muster && ln -s {CONFIG} /etc/muster/config.toml")
    patient = Patient(localmachine)
    nix = b1.succeed("nix --version").split()[-1]
    # Since OpenSSH 9.8 a server bears a grudge against whoever connects often and does not log in.
    punishes = "persourcepenalties" in b1.succeed("/usr/sbin/sshd -T").lower()
    if punishes:
        b1.succeed("sed -i '1i PerSourcePenalties no' /etc/ssh/sshd_config && systemctl restart sshd")

    with subtest("nothing is wrong"):
        wrong = [check for check in patient.checks().values() if check["verdict"] == "fail"]
        assert not wrong, wrong

    with subtest("the name is unknown"):
        coordinator.configure(builders=[{**TABLE, "name": "farm", "uri": "ssh-ng://remotebuild@farm"}])
        farm = Patient(localmachine, "farm")
        [typed] = farm.steps("name", "nobody knows farm", "here")
        localmachine.succeed(typed.replace("ADDRESS", "10.42.0.11"))
        farm.is_well("daemon")
        localmachine.succeed("rm /root/.ssh/config")
        coordinator.configure(builders=[TABLE])

    with subtest("no ssh server listens"):
        b1.systemctl("stop sshd")
        b1.succeed(*patient.steps("port", "refused", "builder"))
        patient.is_well("login")

    with subtest("its host key is unknown"):
        localmachine.succeed("rm /root/.ssh/known_hosts")
        [compare] = patient.steps("host-key", "nobody vouches", "builder")
        own = b1.succeed(compare).split()[1]
        localmachine.succeed(*patient.steps("host-key", re.escape(own), "here"))
        patient.is_well("host-key")

    with subtest("its host key has changed"):
        b1.succeed("rm /etc/ssh/ssh_host_*_key* && ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key && systemctl restart sshd")
        new = b1.succeed("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
        localmachine.succeed(*patient.steps("host-key", f"now {re.escape(new)}, known is {re.escape(own)}", "here"))
        patient.is_well("host-key")

    with subtest("our key has another name"):
        localmachine.succeed(f"mv {KEY} /root/.ssh/remotemachine")
        [typed] = patient.steps("key", f"{KEY} is not there", "configuration")
        localmachine.succeed(f"sed -i '/^key/d' {CONFIG}; echo '{typed}' >>{CONFIG}")
        patient.is_well("key")
        localmachine.succeed(f"mv /root/.ssh/remotemachine {KEY}")
        coordinator.configure(builders=[TABLE])

    with subtest("others may read our key"):
        localmachine.succeed(f"chmod 644 {KEY}")
        localmachine.succeed(*patient.steps("key", "0644", "here"))
        patient.is_well("login")

    with subtest("our key wants a passphrase"):
        localmachine.succeed(f"ssh-keygen -q -p -N secret -f {KEY}", "printf '#!/bin/sh\\necho secret\\n' >/root/ask && chmod 700 /root/ask")
        [typed] = patient.steps("key", "passphrase", "here")
        localmachine.succeed(f"SSH_ASKPASS=/root/ask SSH_ASKPASS_REQUIRE=force {typed}")
        patient.is_well("login")

    with subtest("our key is not ours to read"):
        localmachine.succeed(f"mkdir -p /tmp/alice && install -m 600 {KEY} /tmp/alice/key && install -m 644 {KEY}.pub /tmp/alice/key.pub && chown alice /tmp/alice")
        write(localmachine, "/tmp/alice/config.toml", '[[builder]]\nuri = "ssh-ng://remotebuild@b1"\nkey = "/tmp/alice/key"\n')
        localmachine.succeed("install -D -m 644 -o alice /root/.ssh/known_hosts /home/alice/.ssh/known_hosts")
        as_alice = "runuser -u alice -- env HOME=/home/alice MUSTER_CONFIG=/tmp/alice/config.toml XDG_RUNTIME_DIR=/tmp/alice "
        alice = Patient(localmachine, command=as_alice)
        [typed] = alice.steps("key", "/tmp/alice/key cannot be read", "here")
        # Enough of sudo for this.
        localmachine.succeed("install -m 4755 /usr/bin/env /usr/local/bin/sudo")
        localmachine.succeed(f"{as_alice} sh -c {shlex.quote(typed)}")
        alice.is_well("key")
        alice.is_well("login")

    with subtest("the builder has no line for our key"):
        b1.succeed("mv /etc/ssh/authorized_keys.d/remotebuild /root/keys")
        typed = patient.fix("login", "Permission denied", f"the line of {KEY}.pub to the authorized keys of remotebuild")
        b1.succeed("mv /root/keys /etc/ssh/authorized_keys.d/remotebuild", f"grep -qF '{localmachine.succeed(f'cat {typed.split()[3]}').strip()}' /etc/ssh/authorized_keys.d/remotebuild")
        patient.is_well("login")

    with subtest("the login's shell talks"):
        b1.succeed("sed -i '1i echo Welcome to the farm' /etc/bash.bashrc")
        typed = patient.fix("shell", "Welcome to the farm", r"\[ -t 1 \] \|\| return")
        b1.succeed(f"sed -i '1i {typed}' /etc/bash.bashrc")
        patient.is_well("shell")

    with subtest("Nix is not on the login's PATH"):
        b1.succeed("mkdir -p /nix/var/nix/profiles/default/bin && mv /usr/bin/nix* /nix/var/nix/profiles/default/bin")
        [typed] = patient.steps("nix", "not on the PATH", "configuration", verdict="warn")
        localmachine.succeed(f"sed -i '/^uri/d; /^key/d' {CONFIG}")
        localmachine.succeed(f"cat >>{CONFIG} <<'END'\n{typed}\nEND")
        patient.is_well("nix")
        patient.is_well("daemon")
        b1.succeed("mv /nix/var/nix/profiles/default/bin/nix* /usr/bin")
        coordinator.configure(builders=[TABLE])

    with subtest("there is no Nix"):
        b1.succeed("systemctl stop nix-daemon; mkdir /root/nix && mv /usr/bin/nix* /root/nix")
        [typed] = patient.steps("nix", "nowhere", "builder")
        # The network of the lab ends before it: what comes from there is a stand-in for the installer.
        write(b1, "/usr/local/bin/curl", f"#!/bin/sh\n[ \"$*\" = '-L https://nixos.org/nix/install' ] && echo '{INSTALLER}'")
        b1.succeed("chmod 755 /usr/local/bin/curl", typed)
        patient.is_well("nix")
        patient.is_well("daemon")

    with subtest("its daemon is down"):
        b1.systemctl("stop nix-daemon")
        b1.succeed(*patient.steps("daemon", ".", "builder"))
        patient.is_well("daemon")

    if nix == "2.8.0":
        with subtest("skipped: its user is not trusted: Nix 2.8 does not say so"):
            patient.checks()
    else:
        with subtest("its user is not trusted"):
            b1.succeed("sed -i '/^trusted-users/d' /etc/nix/nix.conf && systemctl restart nix-daemon")
            b1.succeed(*patient.steps("trust", "does not trust remotebuild", "builder"))
            patient.is_well("trust")

    with subtest("a feature is missing"):
        coordinator.configure(builders=[{**TABLE, "features": ["big-parallel", "special"]}])
        b1.succeed(*patient.steps("features", "asks for special", "builder"))
        patient.is_well("features")
        coordinator.configure(builders=[TABLE])

    with subtest("its store is full"):
        b1.succeed("mount -t tmpfs -o size=1200m,mode=1775,gid=nixbld tmpfs /nix/store")
        b1.succeed("head -c 400M /dev/zero >/root/garbage && nix-store --add /root/garbage && rm /root/garbage")
        b1.succeed(*patient.steps("store-space", "free", "builder"))
        assert patient.checks()["store-space"]["verdict"] == "warn"
        b1.succeed("umount /nix/store")

    with subtest("skipped: its clock is wrong: all machines of the lab have one clock"):
        patient.is_well("clock")

    if punishes:
        with subtest("its server turns us away for a while"):
            b1.succeed("sed -i 's/^PerSourcePenalties .*/PerSourcePenalties authfail:60s noauth:60s min:1s/' /etc/ssh/sshd_config && systemctl restart sshd")
            localmachine.fail("ssh -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityFile=none remotebuild@b1 true")
            typed = patient.fix("port", "Not allowed at this time", "PerSourcePenaltyExemptList ADDRESS")
            b1.succeed(f"sed -i '1i {typed.replace('ADDRESS', '10.42.0.10')}' /etc/ssh/sshd_config && systemctl restart sshd")
            patient.is_well("login")

    this_machine(localmachine)


def this_machine(localmachine: Machine) -> None:
    """Everything between Nix and the coordinator."""
    patient = Patient(localmachine, "")

    with subtest("no coordinator runs"):
        for name in ("machines-file", "endpoint", "coordinator"):
            [typed] = patient.steps(name, ".", "here")
        localmachine.succeed(f"setsid {typed} </dev/null >>/var/log/muster.log 2>&1 &")
        localmachine.wait_until_succeeds("muster status")
        for name in ("machines-file", "endpoint", "coordinator"):
            patient.is_well(name)

    with subtest("Nix does not read our lines"):
        localmachine.succeed(*patient.steps("nix-conf", "never reads our lines", "here"))
        patient.is_well("nix-conf")

    with subtest("the local daemon is down"):
        localmachine.systemctl("stop nix-daemon")
        localmachine.succeed(*patient.steps("local-daemon", ".", "here"))
        patient.is_well("local-daemon")

    with subtest("Nix before 2.20 and Lix want bash, which the daemon does not find"):
        drop_in = "/etc/systemd/system/nix-daemon.service.d"
        localmachine.succeed(f"mkdir -p {drop_in} && printf 'Environment=PATH=/nowhere\\n' >{drop_in}/a.conf && systemctl restart nix-daemon")
        if localmachine.succeed("nix --version").split()[-1] == "2.8.0":
            localmachine.succeed(*patient.steps("bash", "starts muster by bash", "here"))
        patient.is_well("bash")
