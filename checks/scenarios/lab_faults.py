"""Do the lab's machines break the way real ones do?"""

from __future__ import annotations

import time

from lib import Machine, delay, start_all, subtest

nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder", "access": "ssh"}, "b2": {"role": "builder", "access": "ssh"}}

SSH = "ssh -i /root/.ssh/remotebuild -o BatchMode=yes -o ConnectTimeout=3 remotebuild@b1"
ESTABLISHED = "ss -Htn state established dst 10.42.0.11 | wc -l"


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()

    with subtest("a killed process closes its connections"):
        connection = localmachine.spawn(f"{SSH} sleep 100")
        localmachine.wait_until_succeeds(f"[ $({ESTABLISHED}) = 1 ]")
        b1.wait_until_succeeds("pkill -KILL -f 'sshd.*[r]emotebuild'")
        assert connection.wait(5)[0] == 255

    with subtest("a crash closes none: the peer sees nothing"):
        connection = localmachine.spawn(f"{SSH} sleep 100")
        localmachine.wait_until_succeeds(f"[ $({ESTABLISHED}) = 1 ]")
        b1.succeed("echo kept >/srv/file; mkdir -p /nix/store/x")
        b1.crash()
        time.sleep(2)
        assert localmachine.succeed(ESTABLISHED).strip() == "1" and connection.is_running()

    with subtest("what crashed starts again, with what was on its disk, and is reached at once"):
        b1.start()
        began = time.monotonic()
        assert localmachine.succeed(f"{SSH} hostname").strip() == "b1"
        assert time.monotonic() - began < 2
        b1.succeed("grep kept /srv/file", "test -d /nix/store/x")

    with subtest("the old connection ends, for the new machine does not know it"):
        connection.interrupt()
        connection.wait(5)

    with subtest("a machine can come back without its store"):
        b1.crash()
        b1.start(keep_store=False)
        b1.succeed("grep kept /srv/file", "! test -e /nix/store/x")

    for drop in (False, True):
        with subtest(f"block and unblock{', dropping packets' if drop else ''}"):
            b1.block(drop=drop)
            localmachine.fail(f"{SSH} true")
            assert b1.succeed("cat /sys/class/net/eth0/carrier").strip() == str(int(drop))
            b2.succeed(": </dev/tcp/localmachine/22")
            b1.unblock()
            localmachine.wait_until_succeeds(f"{SSH} true", timeout=5)

    with subtest("a shutdown closes its connections"):
        connection = localmachine.spawn(f"{SSH} sleep 100")
        localmachine.wait_until_succeeds(f"[ $({ESTABLISHED}) -ge 1 ]")
        b1.shutdown()
        assert connection.wait(5)[0] == 255
        b1.start()

    with subtest("a delay adds its round trips, between the coordinator and the others only"):
        delay(200)
        assert 0.2 <= connecting(localmachine, "b1") < 1
        assert connecting(b2, "b1") < 0.2
        delay(0)
        assert connecting(localmachine, "b1") < 0.2

    with subtest("much data passes the delay line"):
        delay(20)
        began = time.monotonic()
        localmachine.succeed(f"head -c 50M /dev/zero | {SSH} 'wc -c' | grep -q 52428800")
        assert time.monotonic() - began < 5

    with subtest("IPv6 works as well"):
        localmachine.succeed(": </dev/tcp/b1-6/22")


def connecting(machine: Machine, host: str) -> float:
    """How long a TCP connection takes to be made: one round trip."""
    words = f"import socket,time; socket.create_connection(('{host}', 22)); t=time.time(); socket.create_connection(('{host}', 22)); print(time.time()-t)"
    return float(machine.succeed(f'python3 -c "{words}"'))
