"""Does a key that is bound to `muster builder serve` open the way to builds, and to nothing else?"""

from __future__ import annotations

import shlex

from lib import Agent, Coordinator, Machine, nix_build, ran_on, several, start_all, subtest, uri

needs = ("command:builder",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder", "access": "serve"}}
SSH = "ssh -i /root/.ssh/remotebuild -o BatchMode=yes"
TRICKS = (
    "",
    "id",
    "sh -c id",
    "/bin/sh",
    "/bin/sh -s; id",
    "nix-daemon --stdio; id",
    "nix-daemon --stdio $(id >&2)",
    "nix-daemon --stdio `id >&2`",
    "nix-daemon --stdio\nid",
    "nix-daemon --stdio --store local?root=/tmp/evil",
    "nix-daemon --stdio --option pre-build-hook /tmp/evil",
    "nix-store --delete /nix/store/*",
    "muster coordinator",
    "muster builder release",
    "muster 'builder session'",
    "env FOO=1 nix-daemon --stdio",
)


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    agent = Agent(b1)
    agent.start()
    coordinator = Coordinator(localmachine)
    coordinator.start('[endpoint]\nlocal = "never"\n', builders=[{"uri": uri("b1"), "slots": 2}])
    coordinator.wait_for_health("healthy", "b1")

    with subtest("it is probed, held, and builds, by the daemon's socket"):
        agent.wait_for_claims(1)
        assert coordinator.builder("b1")["measured"]["cores"], coordinator.builder("b1")
        assert {ran_on(path, [b1]) for path in nix_build(localmachine, several(4))} == {"b1"}
        assert "muster builder pump" in b1.succeed("ps -eo args") or "builder serve" in b1.succeed("ps -eo args")

    with subtest("stock Nix gets its daemon, by both protocols"):
        for scheme in ("ssh-ng", "ssh"):
            answer = localmachine.execute(f"nix store ping --store '{scheme}://remotebuild@b1?ssh-key=/root/.ssh/remotebuild' --extra-experimental-features nix-command 2>&1")
            assert answer[0] == 0, answer

    with subtest("no shell, no command, no trick"):
        for trick in TRICKS:
            status, said = localmachine.execute(f"{SSH} remotebuild@b1 {shlex.quote(trick)} </dev/null 2>&1")
            assert status != 0 and "uid=" not in said and "this key is for builds only" in said, (trick, status, said)

    with subtest("a script that pretends to be a probe is not run: the builder's own is"):
        script = "mark=muster0123456789\\nid\\ntouch /tmp/evil\\n"
        said = localmachine.succeed(f"printf '{script}' | {SSH} remotebuild@b1 '/bin/sh -s'")
        assert "muster0123456789 end" in said and "uid=" not in said, said
        b1.fail("test -e /tmp/evil")
        localmachine.fail(f"echo id | {SSH} remotebuild@b1 '/bin/sh -s'")

    with subtest("no files go, and nothing is forwarded"):
        localmachine.fail("scp -i /root/.ssh/remotebuild -o BatchMode=yes /etc/hostname remotebuild@b1:/tmp/evil")
        localmachine.fail("scp -O -i /root/.ssh/remotebuild -o BatchMode=yes /etc/hostname remotebuild@b1:/tmp/evil")
        localmachine.fail(f"{SSH.replace('ssh ', 'sftp ', 1)} remotebuild@b1 </dev/null")
        b1.fail("test -e /tmp/evil")
        localmachine.succeed(f"({SSH} -N -L 2222:127.0.0.1:22 -L /tmp/daemon:/nix/var/nix/daemon-socket/socket remotebuild@b1 >/tmp/forward 2>&1 & echo $! >/tmp/forward.pid); sleep 2")
        for use in ("echo | timeout 5 bash -c 'exec 3<>/dev/tcp/127.0.0.1/2222; head -c 4 <&3 | grep -q SSH'", "nix store ping --store unix:///tmp/daemon --extra-experimental-features nix-command"):
            localmachine.fail(use)
        localmachine.succeed("kill $(cat /tmp/forward.pid) || true")

    with subtest("an environment that the login brings changes nothing"):
        status, said = localmachine.execute(f"LC_ALL='$(id)' {SSH} -o SendEnv=LC_ALL remotebuild@b1 id 2>&1")
        assert status != 0 and "uid=" not in said, said
