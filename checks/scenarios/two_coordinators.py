"""Do two coordinators share one builder without failures, also where it has build users for less than both ask for?"""

from __future__ import annotations

from lib import Coordinator, Machine, derivation, ran_on, several, start_all, start_build, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {
    "one": {"role": "coordinator"},
    "two": {"role": "coordinator"},
    # Where a build waits for a build user or another's lock, its Nix looks again this often (seconds).
    "b1": {"role": "builder", "nix_conf": {"build-poll-interval": "1"}},
}


def script(one: Machine, two: Machine, b1: Machine) -> None:
    start_all()
    # Three are left of eight.
    b1.succeed("gpasswd -M nixbld1,nixbld2,nixbld3 nixbld")
    coordinators = [Coordinator(one), Coordinator(two)]
    for coordinator in coordinators:
        # What waits on the builder for a build user lasts longer than that, and is not counted.
        coordinator.start('[endpoint]\nlocal = "never"\n[timeouts]\nbuild_timeout = "4s"\n', builders=[{"uri": uri("b1"), "slots": 3}])
    for coordinator in coordinators:
        coordinator.wait_for_health("healthy", "b1")

    with subtest("both build at the same time, and lack of build users is waited out"):
        builds = [start_build(machine, several(4, script="cat /labhost >$out; sleep 2")) for machine in (one, two)]
        for build in builds:
            said = build.succeed(60)
            assert {ran_on(path, [b1]) for path in said.split()[-4:]} == {"b1"}, said
        for coordinator in coordinators:
            assert coordinator.builder("b1")["health"] == "healthy", coordinator.log()

    with subtest("both ask for the same derivation: it is built once"):
        shared = derivation("shared", "cat /labhost >$out; echo begun; sleep 2; cat /proc/sys/kernel/random/uuid >>$out")
        builds = [start_build(machine, shared) for machine in (one, two)]
        paths = {build.succeed(30).split()[-1] for build in builds}
        assert len(paths) == 1, paths
        [path] = paths
        assert one.succeed(f"cat {path}") == two.succeed(f"cat {path}")
