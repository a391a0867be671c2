"""Is a builder named that lets us in with none of our keys, and used once it does?"""

from __future__ import annotations

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder", "authorized": False}, "b2": {"role": "builder"}}


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    coordinator.start('[timeouts]\nretry_max = "2s"\n', builders=[uri("b1"), uri("b2")])

    with subtest("it is down, and the reason is the key"):
        coordinator.wait_for_health("down", "b1")
        assert "key" in coordinator.builder("b1")["reason"], coordinator.builder("b1")

    with subtest("the other builder works meanwhile"):
        coordinator.wait_for_health("healthy", "b2")
        assert {ran_on(path, [b1, b2]) for path in nix_build(localmachine, several(2))} == {"b2"}

    with subtest("once it is let in it is used, without a restart"):
        key = localmachine.succeed("cat /root/.ssh/remotebuild.pub").strip()
        b1.succeed(f"echo '{key}' >>/etc/ssh/authorized_keys.d/remotebuild")
        coordinator.wait_for_health("healthy", "b1")
