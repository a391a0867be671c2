"""Do builders with three different versions of Nix share the work of one coordinator?"""

from __future__ import annotations

from lib import Coordinator, Machine, derivation, graph, nix_build, ran_on, several, start_all, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
VERSIONS = {"old": "2.8.0", "middle": "2.26.3", "new": "2.34.8"}
nodes = {"localmachine": {"role": "coordinator"}, **{name: {"role": "builder", "nix": version} for name, version in VERSIONS.items()}}


def script(localmachine: Machine, old: Machine, middle: Machine, new: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    builders = [old, middle, new]

    with subtest("each is found to have its version"):
        coordinator.start(builders=[uri(name) for name in VERSIONS])
        coordinator.wait_for_health("healthy", *VERSIONS)
        found = {row["name"]: row["nix_version"] for row in coordinator.status()["builders"]}
        assert all(version in (found[name] or "") for name, version in VERSIONS.items()), found

    with subtest("each builds"):
        paths = nix_build(localmachine, several(9, script="cat /labhost >$out; sleep 3"))
        assert {ran_on(path, builders) for path in paths} == set(VERSIONS)

    with subtest("outputs of one are inputs of another"):
        parts = {f"p{number}": derivation(f"part{number}", "cat /labhost >$out; sleep 3") for number in range(6)}
        whole = derivation("whole", "cat /labhost $inputs >$out", inputs=parts)
        [path] = nix_build(localmachine, graph({**parts, "whole": whole}, goals=["whole"]))
        assert set(localmachine.succeed(f"cat {path}").split()) == set(VERSIONS)
