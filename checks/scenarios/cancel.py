"""Are a client's builds gone from the builders within a second of its end, however it ends?"""

from __future__ import annotations

import time

from lib import Background, Coordinator, Machine, derivation, nix_build, processes, several, start_all, start_build, subtest, travelled, uri, wait_for

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {
    "localmachine": {"role": "coordinator"},
    # Reached by a stream to its daemon's socket, and by a session for each channel.
    "b1": {"role": "builder", "access": "ssh"},
    "b2": {"role": "builder", "access": "stdio-only"},
}
# Within a second, and as much for a machine that is busy with other tests.
LIMIT = 2


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    coordinator.start(builders=[{"uri": uri(name), "systems": ["x86_64-linux"], "slots": 2} for name in ("b1", "b2")])
    coordinator.wait_for_health("healthy", "b1", "b2")

    def count() -> int:
        return sum(processes(builder, "sleep 4711") for builder in (b1, b2))

    def running(user: str) -> Background:
        build = start_build(localmachine, several(4, script="sleep 4711"), user=user)
        wait_for(lambda: count() >= 4, "all builds run")
        return build

    def gone(build: Background) -> None:
        wait_for(lambda: count() == 0, "the builds end", LIMIT)
        wait_for(lambda: all(row["busy"] == 0 for row in coordinator.status()["builders"]), "the slots are free", LIMIT)
        assert build.wait(10)[0] != 0

    for user in ("alice", "root"):
        with subtest(f"Ctrl-C of {user}'s nix-build"):
            build = running(user)
            build.interrupt()
            gone(build)

        with subtest(f"SIGKILL of {user}'s nix-build"):
            build = running(user)
            localmachine.succeed(f"pkill -KILL -u {user} -x nix-build")
            gone(build)

    for what, direction, build_text in (
        ("an upload", "tx", derivation("uploads", "wc -c <$inputs >$out", inputs=["/tmp/source"])),
        ("a download", "rx", derivation("downloads", "head -c 500000000 /dev/zero >$out")),
    ):
        with subtest(f"Ctrl-C in the middle of {what}, which ends at once"):
            localmachine.succeed("test -e /tmp/source || { head -c 150M /dev/urandom >/tmp/source; chmod 644 /tmp/source; }")
            before = travelled(localmachine, direction)
            build = start_build(localmachine, build_text)
            wait_for(lambda: travelled(localmachine, direction) - before > 10_000_000, "10 MB have travelled")
            build.interrupt()
            gone(build)
            before = travelled(localmachine, direction)
            time.sleep(0.5)
            assert travelled(localmachine, direction) - before < 10_000_000, "it goes on"

    with subtest("builds work as before"):
        nix_build(localmachine, several(4))
