"""Does all of it work where the store directory is not /nix/store?"""

from __future__ import annotations

from lib import HERE, Coordinator, Machine, derivation, start_all, subtest, uri, write

needs = ("uri:ssh-ng://remotebuild@b1",)
# Where Nix takes its directories from; its daemon serves them at a socket of its own.
ENVIRONMENT = "NIX_STORE_DIR=/opt/store NIX_STATE_DIR=/opt/var/nix NIX_LOG_DIR=/opt/var/log/nix NIX_DAEMON_SOCKET_PATH=/run/opt-nix.sock"
PROGRAM = "/usr/local/bin/opt-nix-daemon"
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder", "access": "ssh"}}


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    for machine in (localmachine, b1):
        machine.succeed("mkdir -p /opt/store /opt/var/nix /opt/var/log/nix; chgrp nixbld /opt/store; chmod 1775 /opt/store")
        write(machine, PROGRAM, f'#!/bin/sh\nexec env {ENVIRONMENT} nix-daemon "$@"')
        machine.succeed(f"chmod 755 {PROGRAM}")
        machine.spawn(PROGRAM)
        machine.wait_for_file("/run/opt-nix.sock")
    coordinator = Coordinator(localmachine)
    config = 'store_dir = "/opt/store"\nlocal_store = "unix:///run/opt-nix.sock"\n'
    coordinator.start(config, builders=[uri("b1") + f"&remote-program={PROGRAM}"])
    coordinator.wait_for_health("healthy", "b1")

    with subtest("a build with an input goes through it"):
        expression = derivation("user", f"{HERE}; cat $inputs >>$out", inputs=[derivation("used", "echo used >$out"), "/tmp/source"])
        write(localmachine, "/tmp/source", "source")
        write(localmachine, "/tmp/expression.nix", expression)
        path = localmachine.succeed(f"env {ENVIRONMENT} NIX_REMOTE=daemon nix-build --no-out-link -j0 --builders @/run/muster/machines /tmp/expression.nix").strip()
        assert path.startswith("/opt/store/"), path
        assert localmachine.succeed(f"cat {path}").split() == ["b1", "used", "source"]

    with subtest("and nothing of it is in the other store"):
        for machine in (localmachine, b1):
            machine.fail("ls -d /nix/store/*-user*")
