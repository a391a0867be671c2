"""Do builders that do not trust us build what is content-addressed or signed, and is the missing signature named?"""

from __future__ import annotations

import hashlib

from lib import Coordinator, Machine, derivation, nix_build, nix_build_fails, ran_on, several, start_all, start_build, subtest, uri, wait_for

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {
    "localmachine": {"role": "coordinator"},
    # Before 2.9 a daemon does not say whether it trusts.
    "b1": {"role": "builder", "trusted": False, "nix": "2.26.3", "access": "ssh"},
    "b2": {"role": "builder", "trusted": False, "nix": "2.34.8", "access": "ssh"},
}

NIX = "nix --extra-experimental-features nix-command"


def fixed(content: str, inputs: str = "") -> str:
    """A fixed-output derivation of a file with one line."""
    digest = hashlib.sha256(f"{content}\n".encode()).hexdigest()
    return (
        f'(derivation {{ name = "{content}"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo {content} >$out" ]; '
        f'outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = "{digest}"; inputs = [ {inputs} ]; }})'
    )


def trust_key(coordinator: Machine, builders: list[Machine]) -> None:
    """A key of the coordinator's whose signatures the builders accept."""
    coordinator.succeed("nix-store --generate-binary-cache-key lab-1 /root/sign.key /root/sign.pub")
    public = coordinator.succeed("cat /root/sign.pub").strip()
    for builder in builders:
        builder.succeed(f"echo 'extra-trusted-public-keys = {public}' >>/etc/nix/nix.conf")
        builder.systemctl("restart nix-daemon")


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    trust_key(localmachine, [b1, b2])
    coordinator = Coordinator(localmachine)
    coordinator.start('use_untrusted = true\n[endpoint]\nwhen_empty = "wait"\n', builders=[uri("b1"), uri("b2")])
    coordinator.wait_for_health("healthy", "b1", "b2")

    with subtest("their line says so"):
        localmachine.wait_until_succeeds("grep -q -- -untrusted /run/muster/machines", timeout=10)

    with subtest("a fixed output is built there"):
        assert localmachine.succeed(f"cat {nix_build(localmachine, fixed('fixed'))[0]}") == "fixed\n"

    with subtest("what needs nothing is built there, by both versions"):
        paths = nix_build(localmachine, several(4, script="sleep 1; cat /labhost >$out"))
        assert {ran_on(path, [b1, b2]) for path in paths} == {"b1", "b2"}

    needed = derivation("needed", "echo needed >$out")
    local = nix_build(localmachine, needed, options="-j1 --builders ''")[0]
    wanted = derivation("wanted", "cat /labhost >$out", inputs=[needed])

    with subtest("what needs something unsigned waits, and the client is told what for"):
        build = start_build(localmachine, wanted)
        name = local.removeprefix("/nix/store/")
        wait_for(lambda: "lacks a signature" in build.output() and name in build.output(), "the missing signature is named", 20)
        build.interrupt()

    with subtest("signed, it is built there"):
        localmachine.succeed(f"{NIX} store sign --key-file /root/sign.key {local}")
        assert ran_on(nix_build(localmachine, wanted)[0], [b1, b2]) in ("b1", "b2")

    with subtest("what only an unknown key has signed ends it, with the path, the builders' words and what helps"):
        localmachine.succeed("nix-store --generate-binary-cache-key other-1 /root/other.key /root/other.pub")
        other = derivation("other", "echo other >$out")
        path = nix_build(localmachine, other, options="-j1 --builders ''")[0]
        localmachine.succeed(f"{NIX} store sign --key-file /root/other.key {path}")
        said = nix_build_fails(localmachine, derivation("refused", inputs=[other]))
        assert path in said and "lacks a signature by a trusted key" in said and "nix store sign" in said, said
