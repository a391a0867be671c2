"""Is an ssh user whom the builder's Nix does not trust named, with the fix?"""

from __future__ import annotations

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {
    "localmachine": {"role": "coordinator"},
    # Before 2.9 a daemon does not say whether it trusts.
    "b1": {"role": "builder", "trusted": False, "nix": "2.26.3", "access": "ssh"},
    "b2": {"role": "builder"},
}


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    coordinator.start(builders=[uri("b1"), uri("b2")])

    with subtest("it is named, with the user and the setting that helps"):
        coordinator.wait_for(lambda rows: rows["b1"]["health"] in ("healthy", "down"), "b1 probed")
        said = str(coordinator.builder("b1")["reason"]) + coordinator.log()
        assert "trusted-users" in said and "remotebuild" in said, said

    with subtest("the trusted one builds"):
        coordinator.wait_for_health("healthy", "b2")
        assert {ran_on(path, [b1, b2]) for path in nix_build(localmachine, several(3))} == {"b2"}

    with subtest("in direct attach it is kept, with a warning: stock Nix may know signatures that it accepts"):
        coordinator.stop()
        said = coordinator.run_once("--attach direct --once")
        assert "b1" in said and "does not trust us" in said, said
        lines = localmachine.succeed("cat /run/muster/machines")
        assert "remotebuild@b1" in lines and "remotebuild@b2" in lines, lines
