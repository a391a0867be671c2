"""Is a real failure reported once, with the builder's name and its last words, and not tried again, whoever builds?"""

from __future__ import annotations

import re

from lib import Coordinator, Machine, build_command, derivation, nix_build_fails, start_all, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}, "b2": {"role": "builder"}}
# Ordinary users through the daemon, root without it.
WAYS = {"alice through the daemon": ("alice", "-j0"), "root without a daemon": ("root", "-j0 --store local")}


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    coordinator.start(builders=[uri("b1"), uri("b2")])
    coordinator.wait_for_health("healthy", "b1", "b2")

    for who, (user, options) in WAYS.items():
        with subtest(who):
            bad = derivation("bad", "echo first words; echo last words; exit 3")
            said = nix_build_fails(localmachine, bad, user, options)
            # Once as a line of the log, once in the report of the failure.
            assert 1 <= said.count("last words") <= 2, said
            assert said.count("failed with exit code 3") == 1, said
            assert len(re.findall(r"\bon b[12]: ", said)) == 1, said

    with subtest("nothing was built twice, and no builder is blamed"):
        assert coordinator.log().count("building attempt=") == len(WAYS), coordinator.log()
        rows = coordinator.status()["builders"]
        assert all(row["health"] == "healthy" and row["lost"] == 0 for row in rows), rows

    with subtest("nix log has the words afterwards"):
        localmachine.succeed(build_command(localmachine, derivation("good", "echo words of the log; echo >$out"), options="-j0 -o /tmp/good"))
        log = localmachine.succeed("nix-store --read-log $(readlink /tmp/good)")
        assert "words of the log" in log, log
