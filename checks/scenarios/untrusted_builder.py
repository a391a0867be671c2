"""Do builders that do not trust us build what is content-addressed or signed, and is the missing signature named?"""

from __future__ import annotations

import hashlib
import re
import struct
import time

from lib import HERE, Coordinator, Machine, build_command, derivation, nix_build, nix_build_fails, ran_on, several, start_all, start_build, subtest, uri, wait_for, write

needs = ("uri:ssh-ng://remotebuild@b1",)
CA = {"experimental-features": "nix-command ca-derivations"}
CA_BUILDER = {**CA, "system-features": "benchmark big-parallel ca-derivations"}
# A program that keeps what it is sent.
TAP = "/usr/local/bin/tap"
SENT = "/run/sent"
BUILD_DERIVATION, BUILD_PATHS_WITH_RESULTS = 36, 46
nodes = {
    "localmachine": {"role": "coordinator", "nix_conf": CA},
    # Before 2.9 a daemon does not say whether it trusts.
    "b1": {"role": "builder", "trusted": False, "nix": "2.26.3", "access": "ssh", "nix_conf": CA_BUILDER},
    "b2": {"role": "builder", "trusted": False, "nix": "2.34.8", "access": "ssh", "nix_conf": CA_BUILDER},
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


def operations(builder: Machine, name: str) -> set[int]:
    """The operations that were sent to build a derivation of that name, read off the wire."""
    sent = bytes.fromhex(builder.succeed(f"od -An -v -tx1 {SENT}"))
    # Operation 36 names the derivation at once; 46 counts its targets first, and asks for all outputs of one.
    named = rb"(.{8})(?:\x01\0{7})?.\0{7}/nix/store/[0-9a-z]{32}-" + re.escape(name).encode() + rb"\.drv"
    return {struct.unpack("<Q", found[1])[0] for found in re.finditer(named, sent, re.DOTALL)} & {BUILD_DERIVATION, BUILD_PATHS_WITH_RESULTS}


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    trust_key(localmachine, [b1, b2])
    for builder in (b1, b2):
        write(builder, TAP, f"#!/bin/sh\ntee -a {SENT} | nix-daemon \"$@\"\n")
        builder.succeed(f"chmod 755 {TAP}; touch {SENT}; chmod 666 {SENT}")
    coordinator = Coordinator(localmachine)
    coordinator.start('use_untrusted = true\n[endpoint]\nwhen_empty = "wait"\n', builders=[f"{uri(name)}&remote-program={TAP}" for name in ("b1", "b2")])
    coordinator.wait_for_health("healthy", "b1", "b2")

    with subtest("their line says so"):
        localmachine.wait_until_succeeds("grep -q -- -untrusted /run/muster/machines", timeout=10)

    with subtest("a fixed output is built there"):
        assert localmachine.succeed(f"cat {nix_build(localmachine, fixed('fixed'))[0]}") == "fixed\n"

    with subtest("so is a floating content-addressed one"):
        attributes = '__contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; salt ='
        [path] = nix_build(localmachine, derivation("floating", "echo floating >$out").replace("salt =", attributes))
        assert localmachine.succeed(f"cat {path}") == "floating\n"
        assert "-floating.drv" in coordinator.log()

    with subtest("these are sent as they are, as far as trust goes"):
        for name in ("fixed", "floating"):
            sent = operations(b1, name) | operations(b2, name)
            assert sent == {BUILD_DERIVATION}, (name, sent)

    with subtest("what needs nothing is built there, by both versions"):
        paths = nix_build(localmachine, several(4, script="sleep 1; cat /labhost >$out"))
        assert {ran_on(path, [b1, b2]) for path in paths} == {"b1", "b2"}

    with subtest("anything input-addressed is asked for by its file, which such a daemon believes"):
        nix_build(localmachine, f"[ {' '.join(derivation('byfile', HERE) for _ in range(4))} ]")
        sent = operations(b1, "byfile") | operations(b2, "byfile")
        assert sent == {BUILD_PATHS_WITH_RESULTS}, sent

    with subtest("a real failure is reported with the builder's name and words"):
        said = nix_build_fails(localmachine, derivation("bad", "echo last words; exit 3"))
        assert re.search(r"\bon b[12]: ", said) and "exit code 3" in said and "last words" in said, said

    with subtest("a check is really built there, and what is not deterministic is caught"):
        command = build_command(localmachine, derivation("dice", "head -c 20 /dev/urandom >$out"), "root", "{}")
        localmachine.succeed(command.format("-j0"))
        said = localmachine.fail(command.format("-j0 --check") + " 2>&1")
        # From 2.34 on Nix hands no such build to anybody.
        handed_out = not localmachine.succeed("nix --version").rstrip().split()[-1].startswith("2.34")
        assert ("deterministic" if handed_out else "local builds are disabled") in said, said

    needed = derivation("needed", "echo needed >$out")
    local = nix_build(localmachine, needed, options="-j1 --builders ''")[0]
    wanted = derivation("wanted", "cat /labhost >$out", inputs=[needed])

    with subtest("what needs something unsigned waits, and the client is told what for"):
        build = start_build(localmachine, wanted)
        name = local.removeprefix("/nix/store/")
        wait_for(lambda: "lacks a signature" in build.output() and name in build.output(), "the missing signature is named", 20)
        # A client of Nix 2.34 misses a Ctrl-C that comes just when it has shown something.
        time.sleep(1)
        build.interrupt()
        assert build.wait(20)[0] != 0

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
