"""Does one connection carry twenty builds to a tailnet builder, where Tailscale's ssh server counts no sessions?"""

from __future__ import annotations

from lib import Coordinator, Machine, processes, several, start_all, start_build, subtest, wait_for, write
from lib_tailnet import Tailnet, by_tag

BUILDS = 20
nodes = {
    "control": {"role": "control"},
    "hub": {"role": "coordinator", "tailscale": True},
    "b1": {"role": "builder", "tailscale": True, "authorized": False, "access": "ssh"},
}


def script(control: Machine, hub: Machine, b1: Machine) -> None:
    start_all()
    # A large machine, as far as a probe can see.
    write(b1, "/usr/local/bin/nproc", "#!/bin/sh\necho 96")
    write(b1, "/usr/local/bin/sed", '#!/bin/sh\ncase "$*" in\n*MemTotal*) echo 400000000 ;;\n*) exec /usr/bin/sed "$@" ;;\nesac')
    b1.succeed("chmod 755 /usr/local/bin/nproc /usr/local/bin/sed")
    b1.succeed(f"for n in $(seq {BUILDS}); do useradd --system --no-create-home --groups nixbld extra$n; done")
    tailnet = Tailnet(control)
    coordinator = Coordinator(hub)
    tailnet.join(hub, b1, tags={"hub": "tag:ci"})
    coordinator.start(by_tag())
    coordinator.wait_for_health("healthy", "b1")
    assert coordinator.builder("b1")["slots"] >= BUILDS, coordinator.builder("b1")

    with subtest("all of them run at once, over two connections: one for builds, one for bulk"):
        build = start_build(hub, several(BUILDS, script="cat /labhost >$out; sleep 15"))
        wait_for(lambda: coordinator.builder("b1")["busy"] >= BUILDS or not build.is_running(), "twenty builds", 60)
        assert build.is_running(), build.output()
        # The shell that holds each one on its leash.
        masters = processes(hub, "muster-ssh ssh")
        assert masters <= 2, masters
        build.succeed(60)
