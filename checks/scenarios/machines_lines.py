"""Do the machines lines that NixOS writes for well-known guides build, by stock Nix before and by muster after its setup?"""

from __future__ import annotations

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, subtest

needs = ("uri:ssh-ng://remotebuild@b1", "command:setup")
ALIAS = "Host builder\n  HostName b1\n  User remotebuild\n  Port 2222\n  IdentityFile /root/.ssh/farm\n"
LINES = (
    # nix.buildMachines with an alias for host name, protocol ssh-ng, three jobs and speed factor 2.
    "ssh-ng://remotebuild@builder x86_64-linux - 3 2 nixos-test,benchmark,big-parallel,kvm - -",
    # nix.buildMachines with sshUser and sshKey, no protocol, several systems.
    "ssh://remotebuild@b2 x86_64-linux,aarch64-linux,riscv64-linux /root/.ssh/farm 2 1 benchmark,big-parallel,kvm - -",
)
nodes = {
    "localmachine": {
        "role": "coordinator",
        "key": "/root/.ssh/farm",
        "nix_conf": {"builders": "@/etc/nix/machines"},
        "machines": LINES,
        "files": {"/root/.ssh/config": ALIAS},
    },
    "b1": {"role": "builder", "port": 2222},
    # Stock Nix speaks the older protocol to it.
    "b2": {"role": "builder", "access": "ssh"},
}
SLOW = "cat /labhost >$out; sleep 1"


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)

    with subtest("stock Nix builds on both"):
        paths = nix_build(localmachine, several(5, script=SLOW))
        assert {ran_on(path, [b1, b2]) for path in paths} == {"b1", "b2"}

    with subtest("muster takes both, with the values that they name"):
        coordinator.start()
        coordinator.wait_for(lambda rows: [row["health"] for row in rows.values()] == ["healthy"] * 2, "both healthy")
        slots = {row["name"]: row["slots"] for row in coordinator.status()["builders"]}
        assert slots == {"builder": 3, "b2": 2}, slots

    with subtest("after muster setup builds go through muster, to both"):
        localmachine.succeed("muster setup 2>&1")
        localmachine.systemctl("restart nix-daemon")
        paths = nix_build(localmachine, several(5, script=SLOW))
        assert {ran_on(path, [b1, b2]) for path in paths} == {"b1", "b2"}
        assert sum(coordinator.status()["totals"]["built_by"].values()) == 5
