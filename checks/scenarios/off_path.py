"""Is a builder used whose Nix is not on the PATH of its ssh sessions?"""

from __future__ import annotations

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder", "nix_on_path": False, "access": "ssh"}}


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)

    with subtest("ssh finds no nix-daemon"):
        localmachine.fail("ssh -i /root/.ssh/remotebuild remotebuild@b1 nix-daemon --version")

    with subtest("muster does, and builds there"):
        coordinator.start(builders=[uri("b1")])
        coordinator.wait_for_health("healthy", "b1")
        assert {ran_on(path, [b1]) for path in nix_build(localmachine, several(3))} == {"b1"}

    with subtest("in direct attach its line tells stock Nix where it is"):
        coordinator.stop()
        coordinator.run_once("--attach direct --once")
        assert "remote-program=/nix/var/nix/profiles/default/bin/nix-daemon" in localmachine.succeed("cat /run/muster/machines")
        assert {ran_on(path, [b1]) for path in nix_build(localmachine, several(2))} == {"b1"}
