"""Do builders of all versions build whose keys are locked to `nix-daemon --stdio`, with nothing configured and with everything?"""

from __future__ import annotations

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
VERSIONS = {"old": "2.8.0", "middle": "2.26.3", "new": "2.34.8"}
nodes = {
    "localmachine": {"role": "coordinator"},
    **{name: {"role": "builder", "access": "stdio-only", "nix": version} for name, version in VERSIONS.items()},
}
CONFIG = '[endpoint]\nlocal = "never"\n'


def script(localmachine: Machine, old: Machine, middle: Machine, new: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    builders = [old, middle, new]

    with subtest("each daemon says itself what it builds for, and what it offers"):
        coordinator.start(CONFIG, builders=[uri(name) for name in VERSIONS])
        coordinator.wait_for_health("healthy", *VERSIONS)
        for name in VERSIONS:
            row = coordinator.builder(name)
            assert row["systems"] == ["x86_64-linux"] and {"benchmark", "big-parallel", "nixos-test"} <= set(row["features"]), row

    with subtest("each builds"):
        paths = nix_build(localmachine, several(6, script="cat /labhost >$out; sleep 1"))
        assert {ran_on(path, builders) for path in paths} == set(VERSIONS)
        coordinator.stop()

    with subtest("what the configuration says wins"):
        table = {"uri": uri("new"), "systems": ["x86_64-linux", "riscv64-linux"], "features": ["special"], "slots": 2}
        coordinator.start(CONFIG, builders=[table])
        coordinator.wait_for_health("healthy", "new")
        row = coordinator.builder("new")
        assert row["systems"] == ["riscv64-linux", "x86_64-linux"] and row["features"] == ["special"] and row["slots"] == 2, row
        assert {ran_on(path, [new]) for path in nix_build(localmachine, several(3))} == {"new"}
