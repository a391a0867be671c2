"""Do machines lines that are not muster's survive its direct attach: start, stop and SIGKILL?"""

from __future__ import annotations

import base64

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1", "option:coordinator --attach")
FOREIGN = ("# by hand", "ssh-ng://somebody@elsewhere riscv64-linux /root/.ssh/other 0")
FILE = "/etc/nix/machines"
nodes = {
    "localmachine": {"role": "coordinator", "nix_conf": {"builders": f"@{FILE}"}, "machines": FOREIGN},
    "b1": {"role": "builder"},
}


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    before = localmachine.succeed(f"cat {FILE}")
    coordinator.configure(builders=[uri("b1")])

    with subtest("the builder has a line of its own beside them"):
        coordinator.launch(options="--attach direct")
        localmachine.wait_until_succeeds(f"grep remotebuild@b1 {FILE}")
        lines = localmachine.succeed(f"cat {FILE}")
        assert before.strip() in lines, lines

    with subtest("its line pins the host key that known hosts vouch for, where the name stands hashed as well"):
        text = b1.succeed("cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub").strip()
        assert pinned(localmachine) == text
        coordinator.stop()
        localmachine.succeed("ssh-keygen -H -f /root/.ssh/known_hosts", "rm /root/.ssh/known_hosts.old")
        coordinator.launch(options="--attach direct")
        localmachine.wait_until_succeeds(f"grep 'remotebuild@b1.* [^ -]*$' {FILE}")
        assert pinned(localmachine) == text

    with subtest("stock Nix builds by it, also where nothing else knows the key and muster is gone"):
        coordinator.stop()
        localmachine.succeed("mv /root/.ssh/known_hosts /root/known_hosts")
        assert {ran_on(path, [b1]) for path in nix_build(localmachine, several(2))} == {"b1"}

        localmachine.succeed("mv /root/known_hosts /root/.ssh/known_hosts")

    with subtest("after SIGKILL they are all there"):
        coordinator.launch(options="--attach direct")
        coordinator.kill()
        assert before.strip() in localmachine.succeed(f"cat {FILE}")

    with subtest("after another start and a stop as well"):
        coordinator.launch(options="--attach direct")
        localmachine.wait_until_succeeds(f"grep remotebuild@b1 {FILE}")
        coordinator.stop()
        assert before.strip() in localmachine.succeed(f"cat {FILE}")


def pinned(localmachine: Machine) -> str:
    """The host key in b1's line."""
    field = localmachine.succeed(f"grep remotebuild@b1 {FILE}").split()[7]
    return base64.b64decode(field).decode()
