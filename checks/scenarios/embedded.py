"""Does a coordinator with two embedded builders build a small graph for a user whom Nix does not trust?"""

from __future__ import annotations

from lib import Coordinator, Machine, derivation, graph, has_path, nix_build, start_all, subtest

nodes = {"localmachine": {"role": "coordinator"}}

GRAPH = graph(
    {
        "left": derivation("left", "sleep 1; echo left >$out"),
        "right": derivation("right", "sleep 1; echo right >$out"),
        "both": derivation("both", "cat $inputs >$out", inputs=["left", "right"]),
    },
    goals=["both"],
)


def script(localmachine: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)

    with subtest("both builders become healthy"):
        coordinator.start(builders=["process:/srv/b1", "process:/srv/b2"])
        coordinator.wait_for_health("healthy", "b1", "b2")

    with subtest("alice builds the graph"):
        [path] = nix_build(localmachine, GRAPH)
        assert localmachine.succeed(f"cat {path}") == "left\nright\n"

    with subtest("it was built on the builders, on both of them"):
        assert any(has_path(localmachine, path, f"local?root=/srv/{name}") for name in ("b1", "b2"))
        built = coordinator.status()["totals"]["built_by"]
        assert sum(built.values()) == 3 and set(built) == {"b1", "b2"}, built

    with subtest("it stops within two seconds"):
        assert coordinator.stop() < 2
