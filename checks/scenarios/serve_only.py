"""Is a machine where only the older `nix-store --serve` answers left to stock Nix, its line untouched, and does doctor say so?"""

from __future__ import annotations

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, subtest

needs = ("uri:ssh-ng://remotebuild@b1", "command:setup")
LINE = "ssh://remotebuild@b1 x86_64-linux /root/.ssh/remotebuild 2 1 big-parallel"
OTHER = "ssh-ng://remotebuild@b2 - /root/.ssh/remotebuild - 1"
FILE = "/run/muster/machines"
nodes = {
    "localmachine": {"role": "coordinator", "nix_conf": {"builders": "@/etc/nix/machines"}, "machines": (LINE,)},
    "b1": {"role": "builder", "access": "serve-only"},
    "b2": {"role": "builder"},
}


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)

    with subtest("stock Nix builds there"):
        assert {ran_on(path, [b1]) for path in nix_build(localmachine, several(2))} == {"b1"}

    with subtest("after muster setup its line alone stands in muster's file, word for word, and stock Nix builds by it"):
        coordinator.start()
        localmachine.succeed("muster setup 2>&1")
        localmachine.systemctl("restart nix-daemon")
        coordinator.wait_for_health("down", "b1")
        localmachine.wait_until_succeeds(f"test \"$(cat {FILE})\" = '{LINE}'", timeout=10)
        assert {ran_on(path, [b1]) for path in nix_build(localmachine, several(2))} == {"b1"}

    with subtest("the reason is said, by status and by doctor, which finds no fault with it"):
        assert "nix-store --serve" in coordinator.builder("b1")["reason"], coordinator.builder("b1")
        said = coordinator.doctor("b1")
        assert "left to Nix itself" in said and "FAIL" not in said, said

    with subtest("a builder beside it is served by muster"):
        localmachine.succeed(f"echo '{OTHER}' >>/etc/nix/machines")
        coordinator.wait_for_health("healthy", "b2")
        localmachine.wait_until_succeeds(f"grep -c . {FILE} | grep -q 2", timeout=10)
        lines = localmachine.succeed(f"cat {FILE}")
        assert LINE in lines and "remotebuild@b2" not in lines, lines
        paths = nix_build(localmachine, several(6, script="cat /labhost >$out; sleep 1"))
        assert {ran_on(path, [b1, b2]) for path in paths} == {"b1", "b2"}
