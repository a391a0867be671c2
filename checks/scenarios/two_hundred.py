"""Do two hundred queued builds of root without a daemon succeed within 1,024 open files, and at what price?"""

from __future__ import annotations

from lib import AT_GATE, GATE, HERE, Coordinator, Machine, build_command, close_gate, open_gate, processes, several, start_all, subtest, uri, wait_for

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder", "nix_conf": {**GATE, "build-users-group": ""}}}
COUNT = 200
# What `max_accepted` is where nobody says otherwise.
ACCEPTED = 180
# A connect's share of memory, in a debug build.
MEMORY_MB = 8


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    close_gate(b1)
    coordinator = Coordinator(localmachine)
    coordinator.start("[endpoint]\nlook_ahead = 500\n", builders=[{"uri": uri("b1"), "slots": 20}])
    coordinator.wait_for_health("healthy", "b1")

    with subtest("as many are accepted as Nix can bear, each by one small process"):
        command = build_command(localmachine, several(COUNT, script=f"{HERE}; {AT_GATE}"), "root", "-j0 --store local")
        build = localmachine.spawn(f"ulimit -Sn 1024; {command}")
        wait_for(lambda: len(coordinator.status()["builds"]) >= ACCEPTED, f"{ACCEPTED} of them are here", 60)
        connects = processes(localmachine, "muster --stdio")
        assert connects <= ACCEPTED + 1, connects
        pss = localmachine.succeed("for p in $(pgrep -f '[m]uster --stdio'); do grep '^Pss:' /proc/$p/smaps_rollup 2>/dev/null || true; done")
        sizes = [int(line.split()[1]) / 1024 for line in pss.splitlines()]
        print(f"{connects} processes of muster, {sum(sizes) / len(sizes):.1f} MB each", flush=True)
        assert sum(sizes) / len(sizes) < MEMORY_MB, sizes

    with subtest("all succeed, and nothing is left"):
        open_gate(b1)
        said = build.succeed(90)
        assert len(set(said.split()[-COUNT:])) == COUNT
        wait_for(lambda: processes(localmachine, "muster --stdio") == 0, "the last one ends", 5)
        assert coordinator.status()["builds"] == []
