"""Does a laptop whose only builder is away build by itself after a while, and on the builder once it is back?"""

from __future__ import annotations

import time

from lib import Coordinator, Machine, derivation, nix_build, ran_on, start_all, start_build, subtest, uri, wait_for

needs = ("uri:ssh-ng://remotebuild@b1", "command:why")
nodes = {"localmachine": {"role": "coordinator", "nix_conf": {"max-jobs": "2"}}, "b1": {"role": "builder"}}
# 30 s where nobody says otherwise.
EMPTY_AFTER = 4
CONFIG = f"""
[timeouts]
empty_after = "{EMPTY_AFTER}s"
retry_max = "1s"
probe_timeout = "3s"
connect_timeout = "3s"
"""


def script(localmachine: Machine, b1: Machine) -> None:
    localmachine.start()
    coordinator = Coordinator(localmachine)

    def where(path: str) -> str:
        return localmachine.succeed(f"cat {path}").strip()

    with subtest("its builder is away: what is asked for after the delay is built here"):
        coordinator.start(CONFIG, builders=[uri("b1")])
        # The line stays until then, so that nothing is built here that the builder could do in a moment.
        wait_for(lambda: localmachine.execute("grep -q remote-program /run/muster/machines")[0] != 0, "the line goes", EMPTY_AFTER + 15)
        began = time.monotonic()
        [path] = nix_build(localmachine, derivation("alone"), options="-j2")
        assert where(path) == "localmachine" and time.monotonic() - began < 5

    with subtest("it comes: the next build runs there"):
        start_all()
        coordinator.wait_for_health("healthy", "b1")
        [path] = nix_build(localmachine, derivation("together"), options="-j2")
        assert ran_on(path, [b1]) == "b1"

    with subtest("it leaves in the middle of a build, which waits for it; others go on here"):
        build = start_build(localmachine, derivation("begun", "cat /labhost >$out; echo begun; sleep 2"), options="-j2")
        wait_for(lambda: "begun" in build.output(), "the build has begun")
        b1.shutdown()
        wait_for(lambda: localmachine.execute("grep -q remote-program /run/muster/machines")[0] != 0, "the line goes", EMPTY_AFTER + 15)
        [path] = nix_build(localmachine, derivation("another"), options="-j2")
        assert where(path) == "localmachine" and build.is_running()
        b1.start()
        assert ran_on(build.succeed(40).split()[-1], [b1]) == "b1"
