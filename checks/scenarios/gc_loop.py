"""Does a garbage collector that runs in a loop on the builder take anything from under a build?"""

from __future__ import annotations

from lib import Coordinator, Machine, derivation, graph, nix_build, start_all, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}}
BUILDS, SHARED = 30, 40
GC = "n=0; while [ ! -e /tmp/enough ]; do nix-store --gc >/dev/null 2>&1; n=$((n + 1)); echo $n >/tmp/collected; done"


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    coordinator.start(builders=[{"name": "b1", "uri": uri("b1"), "slots": 6}])
    coordinator.wait_for_health("healthy", "b1")
    localmachine.succeed(f"mkdir /tmp/shared; for n in $(seq {SHARED}); do head -c 100000 /dev/urandom >/tmp/shared/$n; done; chmod -R a+rX /tmp/shared")
    collector = b1.spawn(GC)
    b1.wait_for_file("/tmp/collected")
    before = collected(b1)

    with subtest("builds with shared inputs, built and plain, all succeed and see all of them"):
        shared = [f'"${{/tmp/shared}}/{number}"' for number in range(1, SHARED + 1)]
        parts = {f"part{number}": derivation(f"part{number}", "head -c 200000 /dev/urandom >$out") for number in range(5)}
        read = f"for input in $inputs; do cat $input; done | wc -c >$out; sleep 0.$(($(wc -c <$out) % 9))"
        goals = {f"goal{number}": derivation(f"goal{number}", read, inputs=[*parts, *shared]) for number in range(BUILDS - len(parts))}
        paths = nix_build(localmachine, graph({**parts, **goals}, goals), timeout=100)
        assert len(paths) == len(goals)
        sizes = localmachine.succeed(f"cat {' '.join(paths)}").split()
        assert set(sizes) == {str(SHARED * 100000 + len(parts) * 200000)}, sizes

    with subtest("none was tried twice, and the collector did run meanwhile"):
        totals = coordinator.status()["totals"]
        assert (totals["succeeded"], totals["repeated"], totals["failed"]) == (BUILDS, 0, 0), totals
        b1.succeed("touch /tmp/enough")
        collector.wait(30)
        assert collected(b1) - before >= 3, f"{collected(b1) - before} collections"

    with subtest("it takes what nobody needs any more"):
        coordinator.stop()
        b1.wait_until_succeeds(f"nix-store --gc >/dev/null 2>&1; ! test -e {paths[0]}", timeout=10)


def collected(b1: Machine) -> int:
    return int(b1.succeed("cat /tmp/collected"))
