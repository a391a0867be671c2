"""Do aliases with User, Port and IdentityFile work, from root's own ssh configuration and from the system's?"""

from __future__ import annotations

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, subtest

ALIAS = "Host {alias}\n  HostName {host}\n  User remotebuild\n  Port 2222\n  IdentityFile /root/.ssh/farm\n"
needs = ("uri:fast",)
nodes = {
    "localmachine": {
        "role": "coordinator",
        "key": "/root/.ssh/farm",
        "files": {
            "/root/.ssh/config": ALIAS.format(alias="fast", host="b1"),
            "/etc/ssh/ssh_config": ALIAS.format(alias="slow", host="b2"),
        },
    },
    "b1": {"role": "builder", "port": 2222},
    "b2": {"role": "builder", "port": 2222},
}


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)

    with subtest("both become healthy, and are called by their aliases"):
        coordinator.start(builders=["fast", "slow"])
        coordinator.wait_for_health("healthy", "fast", "slow")

    with subtest("NIX_SSHOPTS says the same as an alias, as it does for stock Nix"):
        localmachine.fail("muster probe remotebuild@b1")
        localmachine.succeed("NIX_SSHOPTS='-p 2222 -i /root/.ssh/farm' muster probe remotebuild@b1")

    with subtest("both build"):
        paths = nix_build(localmachine, several(4, script="cat /labhost >$out; sleep 1"))
        assert {ran_on(path, [b1, b2]) for path in paths} == {"b1", "b2"}
