"""Do builders of four systems build one graph that needs them all?"""

from __future__ import annotations

from lib import Coordinator, Machine, Nodes, derivation, graph, nix_build, ran_on, start_all, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
SYSTEMS = {"intel": "x86_64-linux", "arm": "aarch64-linux", "oldmac": "x86_64-darwin", "mac": "aarch64-darwin"}
nodes: Nodes = {
    "localmachine": {"role": "coordinator"},
    # A daemon builds for the system that its nix.conf says; what it runs are the same shell commands.
    **{name: {"role": "builder", "nix_conf": {"system": system, "extra-platforms": ""}} for name, system in SYSTEMS.items()},
}

# Each output has where it was built on its first line, and below it where its inputs were built.
SCRIPT = "cat /labhost $inputs >$out"


def one_graph() -> str:
    parts = {name: derivation(f"on-{name}", SCRIPT, system=system) for name, system in SYSTEMS.items()}
    whole = derivation("whole", SCRIPT, inputs=parts, system="aarch64-darwin")
    return graph({**parts, "whole": whole}, goals=[*parts, "whole"])


def check(localmachine: Machine, builders: list[Machine]) -> None:
    """Builds it and looks where each part was built."""
    *parts, whole = nix_build(localmachine, one_graph())
    assert [ran_on(path, builders) for path in parts] == list(SYSTEMS)
    assert localmachine.succeed(f"cat {whole}").split() == ["mac", *SYSTEMS]


def script(localmachine: Machine, intel: Machine, arm: Machine, oldmac: Machine, mac: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)

    with subtest("each is found to have its system"):
        coordinator.start(builders=[uri(name) for name in SYSTEMS])
        coordinator.wait_for_health("healthy", *SYSTEMS)
        assert {row["name"]: row["systems"] for row in coordinator.status()["builders"]} == {name: [system] for name, system in SYSTEMS.items()}

    with subtest("the graph is built, each part where its system is"):
        check(localmachine, [intel, arm, oldmac, mac])
