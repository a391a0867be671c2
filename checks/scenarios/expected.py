"""Does a build for a system that nobody has yet wait for the builder that was announced, and is a new one used that a source finds?"""

from __future__ import annotations

import json
import time

from lib import Coordinator, Machine, derivation, nix_build_fails, ran_on, start_build, subtest, uri, wait_for, write

needs = ("uri:ssh-ng://remotebuild@b1",)
ARM = {"extra-platforms": "aarch64-linux"}
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}, "b2": {"role": "builder", "nix_conf": ARM, "access": "ssh"}}
CONFIG = """
[[source]]
exec = ["cat", "/run/builders"]
interval = "500ms"
"""
EXPECT = """
[[expect]]
systems = ["aarch64-linux"]
"""


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    localmachine.start()
    b1.start()
    b2_joins = [json.dumps({"name": builder, "uri": uri(builder)}) for builder in ("b1", "b2")]
    write(localmachine, "/run/builders", b2_joins[0])
    coordinator = Coordinator(localmachine)

    with subtest("nobody announced it: Nix says so at once, or waits for itself"):
        coordinator.start(CONFIG)
        coordinator.wait_for_health("healthy", "b1")
        began = time.monotonic()
        said = nix_build_fails(localmachine, derivation("strange", system="aarch64-linux"))
        assert "aarch64-linux" in said and time.monotonic() - began < 5, said
        coordinator.stop()

    with subtest("it is announced: the build waits, and says for what"):
        coordinator.start(CONFIG + EXPECT)
        coordinator.wait_for_health("healthy", "b1")
        build = start_build(localmachine, derivation("announced", system="aarch64-linux"))
        wait_for(lambda: "waits for a builder of aarch64-linux" in build.output(), "the user is told")
        time.sleep(4)
        assert build.is_running()

    with subtest("it joins: the build runs there at once"):
        b2.start()
        write(localmachine, "/run/builders", "\n".join(b2_joins))
        began = time.monotonic()
        said = build.succeed(30)
        assert time.monotonic() - began < 10, said
        assert ran_on(said.split()[-1], [b1, b2]) == "b2"
