"""Does stock Nix, with plain machines lines, build on the lab's builders as the tutorials say it does?"""

from __future__ import annotations

from lib import Machine, derivation, line, nix_build, ran_on, several, start_all, subtest

nodes = {
    "localmachine": {"role": "coordinator", "nix_conf": {"builders": "@/etc/nix/machines"}, "machines": (line("b1"), line("b2"))},
    "b1": {"role": "builder", "access": "ssh"},
    "b2": {"role": "builder", "access": "ssh"},
}

STORE = "ssh-ng://remotebuild@b1?ssh-key=/root/.ssh/remotebuild"


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()

    with subtest("the tutorial's test login says hello, and that there is no home"):
        said = localmachine.succeed('ssh remotebuild@b1 -i /root/.ssh/remotebuild "echo hello" 2>&1')
        assert set(said.splitlines()) == {"Could not chdir to home directory /home/remotebuild: No such file or directory", "hello"}, said

    with subtest("the builder's store answers"):
        # Nix 2.8 calls it `ping`, and knows no trust yet.
        info = localmachine.succeed(f"nix store info --store '{STORE}' 2>&1 || nix store ping --store '{STORE}' 2>&1")
        assert "Store URL: ssh-ng://" in info and "Trusted: 0" not in info, info

    with subtest("a build with --max-jobs 0 runs on a builder"):
        [path] = nix_build(localmachine, derivation("test"), options="--max-jobs 0")
        assert ran_on(path, [b1, b2]) in ("b1", "b2")

    with subtest("builds side by side use both builders"):
        paths = nix_build(localmachine, several(2, script="cat /labhost >$out; sleep 1"))
        assert {ran_on(path, [b1, b2]) for path in paths} == {"b1", "b2"}
