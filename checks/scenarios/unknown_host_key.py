"""Is a builder whose host key nobody vouches for refused, with its fingerprint and the fix, and used once it is known?"""

from __future__ import annotations

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {
    "localmachine": {"role": "coordinator"},
    "b1": {"role": "builder", "known": False},
    "b2": {"role": "builder"},
}


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    coordinator.start('[timeouts]\nretry_max = "2s"\n', builders=[uri("b1"), uri("b2")])

    with subtest("it is refused, with the fingerprint that it really has, and with the fix"):
        coordinator.wait_for_health("down", "b1")
        reason = coordinator.builder("b1")["reason"]
        fingerprint = b1.succeed("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
        assert fingerprint in reason and f"--pin {fingerprint}" in reason, reason

    with subtest("nobody learned its key on the way"):
        localmachine.fail("ssh-keygen -F b1")

    with subtest("the other builder works meanwhile"):
        coordinator.wait_for_health("healthy", "b2")
        assert {ran_on(path, [b1, b2]) for path in nix_build(localmachine, several(2))} == {"b2"}

    with subtest("once known it is used, without a restart"):
        host_key = b1.succeed("cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub")
        localmachine.succeed(f"echo b1 {host_key.strip()} >>/root/.ssh/known_hosts")
        coordinator.wait_for_health("healthy", "b1")
