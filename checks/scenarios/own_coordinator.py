"""Can an ordinary user have a coordinator of their own, with their own keys, socket and store, beside the system's?"""

from __future__ import annotations

import shlex

from lib import HERE, Coordinator, Machine, derivation, nix_build, ran_on, start_all, subtest, tables, uri, wait_for, write

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}, "b2": {"role": "builder"}}
STORE = "local?root=/home/alice/nix"


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    system = Coordinator(localmachine)
    system.start(builders=[uri("b1")])
    system.wait_for_health("healthy", "b1")
    localmachine.succeed(
        "install -d -o alice -m 700 /home/alice/.ssh /home/alice/.config /home/alice/.config/muster /run/alice",
        "install -o alice -m 600 /root/.ssh/remotebuild /home/alice/.ssh/id_ed25519",
        "install -o alice -m 600 /root/.ssh/known_hosts /home/alice/.ssh/known_hosts",
    )
    write(localmachine, "/home/alice/.config/muster/config.toml", f'local_store = "{STORE}"\n' + tables(["remotebuild@b2"]))

    def alice(command: str) -> str:
        return f"runuser -u alice -- env -C /tmp HOME=/home/alice XDG_RUNTIME_DIR=/run/alice sh -c {shlex.quote(command)}"

    with subtest("it starts with nothing but the name of a builder, and prints how to build with it"):
        own = localmachine.spawn(alice("exec muster coordinator"))
        localmachine.wait_until_succeeds(alice("muster status | grep -q healthy"), timeout=20)
        wait_for(lambda: "\n" in own.output().partition("nix build --builders")[2], "it says how to build with it", 10)
        said = own.output().split("nix build ", 1)[1].splitlines()[0].strip()

    with subtest("alice builds with it, in a store of her own"):
        write(localmachine, "/tmp/own.nix", derivation("own", f"{HERE}; cat $inputs >>$out", inputs=[derivation("input", "echo input >$out")]))
        path = localmachine.succeed(alice(f"nix-build --no-out-link -j0 --store '{STORE}' {said} /tmp/own.nix")).strip()
        assert localmachine.succeed(f"cat /home/alice/nix{path}").split() == ["b2", "input"]

    with subtest("nobody else reaches it, and the system's works as before"):
        assert localmachine.succeed("stat -c '%a %U' /run/alice/muster/endpoint.sock").split() == ["600", "alice"]
        assert ran_on(nix_build(localmachine, derivation("system"))[0], [b1, b2]) == "b1"
        assert "b2" not in str(system.status()["builders"])

    with subtest("it ends by Ctrl-C, and leaves nothing"):
        own.interrupt()
        own.wait(5)
        localmachine.fail("pgrep -u alice -f '[s]sh |[m]uster'")
