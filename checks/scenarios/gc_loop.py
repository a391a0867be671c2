"""Does a garbage collector that runs in a loop on the builder take anything from under a build?"""

from __future__ import annotations

from lib import Coordinator, Machine, delay, derivation, graph, nix_build, start_all, start_build, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}}
BUILDS, SHARED, LARGE = 30, 40, 80_000_000
READ = "for input in $inputs; do cat $input; done | wc -c >$out"
GC = "n=0; while [ ! -e /tmp/enough ]; do nix-store --gc >/dev/null 2>&1; n=$((n + 1)); echo $n >/tmp/collected; done"


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    coordinator.start('[endpoint]\nlocal = "never"', [{"name": "b1", "uri": uri("b1"), "slots": 6}])
    coordinator.wait_for_health("healthy", "b1")
    localmachine.succeed(f"mkdir /tmp/shared; for n in $(seq {SHARED}); do head -c 100000 /dev/urandom >/tmp/shared/$n; done; chmod -R a+rX /tmp/shared")
    shared = [f"/tmp/shared/{number}" for number in range(1, SHARED + 1)]

    with subtest("what the builder has already stays there while the rest travels"):
        nix_build(localmachine, derivation("first", READ, inputs=shared))
        # Nobody but the next build keeps them now.
        coordinator.restart()
        coordinator.wait_for_health("healthy", "b1")
        localmachine.succeed(f"head -c {LARGE} /dev/urandom >/tmp/large; chmod a+r /tmp/large")
        delay(32)
        build = start_build(localmachine, derivation("second", READ, inputs=[*shared, "/tmp/large"]))
        b1.wait_until_succeeds("ls -d /nix/store/*-large")
        b1.succeed("nix-store --gc")
        path = build.succeed(60).split()[-1]
        assert int(localmachine.succeed(f"cat {path}")) == SHARED * 100000 + LARGE
        assert repeats(coordinator) == 0
        delay(0)

    collector = b1.spawn(GC)
    b1.wait_for_file("/tmp/collected")
    before = collected(b1)

    with subtest("builds with shared inputs, built and plain, all succeed and see all of them"):
        parts = {f"part{number}": derivation(f"part{number}", "head -c 200000 /dev/urandom >$out") for number in range(5)}
        goals = {f"goal{number}": derivation(f"goal{number}", f"{READ}; sleep 0.5", inputs=[*parts, *shared]) for number in range(BUILDS - len(parts))}
        paths = nix_build(localmachine, graph({**parts, **goals}, goals), timeout=100)
        assert len(paths) == len(goals)
        sizes = localmachine.succeed(f"cat {' '.join(paths)}").split()
        assert set(sizes) == {str(SHARED * 100000 + len(parts) * 200000)}, sizes

    with subtest("none was tried twice, and the collector did run meanwhile"):
        assert repeats(coordinator) == 0
        b1.succeed("touch /tmp/enough")
        collector.wait(30)
        assert collected(b1) - before >= 3, f"{collected(b1) - before} collections"

    with subtest("it takes what nobody needs any more"):
        coordinator.stop()
        b1.wait_until_succeeds(f"nix-store --gc >/dev/null 2>&1; ! test -e {paths[0]}", timeout=10)


def repeats(coordinator: Coordinator) -> int:
    totals = coordinator.status()["totals"]
    assert totals["failed"] == 0, totals
    return int(totals["repeated"])


def collected(b1: Machine) -> int:
    return int(b1.succeed("cat /tmp/collected"))
