"""Is a builder refused, and named, whose host key is another one than the known one?"""

from __future__ import annotations

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}, "b2": {"role": "builder"}}


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    b1.succeed("ssh-keygen -q -t ed25519 -N '' -f /tmp/key", "cp /tmp/key /etc/ssh/ssh_host_ed25519_key", "cp /tmp/key.pub /etc/ssh/ssh_host_ed25519_key.pub")
    b1.systemctl("restart sshd")

    with subtest("it is refused, with the fingerprint it has now"):
        coordinator.start(builders=[uri("b1"), uri("b2")])
        coordinator.wait_for_health("down", "b1")
        reason = coordinator.builder("b1")["reason"]
        fingerprint = b1.succeed("ssh-keygen -lf /tmp/key.pub").split()[1]
        assert "host key" in reason and fingerprint in reason, reason

    with subtest("whoever waits for it hears that, with the fix, and that no builder could be used"):
        status, said = localmachine.execute("muster wait b1 --wait 1s 2>&1")
        assert status == 3 and "b1 is down: its host key has changed" in said and "ssh-keygen -R b1" in said, said

    with subtest("no login was tried there"):
        b1.fail("grep 'Accepted publickey' /var/log/sshd.log")

    with subtest("the other builder does the work"):
        coordinator.wait_for_health("healthy", "b2")
        assert {ran_on(path, [b1, b2]) for path in nix_build(localmachine, several(2))} == {"b2"}
