"""Is a builder that appears later used without a restart?"""

from __future__ import annotations

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, start_build, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}, "b2": {"role": "builder"}}


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    localmachine.start()
    b1.start()
    coordinator = Coordinator(localmachine)

    with subtest("the one that is there works alone"):
        coordinator.start('[timeouts]\nretry_max = "2s"\n', builders=[uri("b1"), uri("b2")])
        coordinator.wait_for_health("healthy", "b1")
        assert {ran_on(path, [b1]) for path in nix_build(localmachine, several(2))} == {"b1"}

    with subtest("the late one takes part in builds that already wait"):
        build = start_build(localmachine, several(8, script="cat /labhost >$out; sleep 3"))
        start_all()
        paths = [word for word in build.succeed(60).split() if word.startswith("/nix/store/") and word.rstrip(".").count("-job") and "drv" not in word]
        assert {ran_on(path, [b1, b2]) for path in localmachine.succeed(f"ls -d {' '.join(paths)}").split()} == {"b1", "b2"}
