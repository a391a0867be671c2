"""Does `muster wait` say who is missing and why, and end as soon as those who are meant are there?"""

from __future__ import annotations

import json
import time

from lib import Coordinator, Machine, start_all, subtest
from lib_tailnet import Tailnet, by_tag

needs = ("command:wait",)
limit_seconds = 200
BUILDER = {"role": "builder", "tailscale": True, "authorized": False, "access": "ssh"}
nodes = {
    "control": {"role": "control"},
    "hub": {"role": "coordinator", "tailscale": True},
    "b1": BUILDER,
    "b2": BUILDER,
    "b3": BUILDER,
}
DENIED = {"action": "accept", "src": ["tag:nix-builder"], "dst": ["tag:ci"], "users": ["root"]}
ALLOWED = {"action": "accept", "src": ["tag:ci"], "dst": ["tag:nix-builder"], "users": ["root"]}
RETRY = '[timeouts]\nretry_max = "1s"\n'


def script(control: Machine, hub: Machine, b1: Machine, b2: Machine, b3: Machine) -> None:
    start_all()
    tailnet = Tailnet(control)
    coordinator = Coordinator(hub)

    with subtest("no coordinator: said at the end"):
        status, said = hub.execute("muster wait --wait 1s 2>&1")
        assert status == 4 and "muster coordinator" in said, said

    with subtest("each that is missing has its reason, and the rule that is missing is there to be copied"):
        tailnet.allow_ssh([DENIED])
        tailnet.join(hub, tag="tag:ci")
        tailnet.join(b1, b2, without_ssh=["b2"])
        coordinator.start(by_tag() + RETRY)
        coordinator.wait_for(lambda rows: "policy" in (rows.get("b1", {}).get("reason") or ""), "b1 denies us")
        status, said = hub.execute("muster wait b1 b2 b3 --wait 2s 2>&1")
        assert status == 3 and "0 of 3 builders are ready" in said, said
        rule = said[said.rindex("{") :].splitlines()[0]
        assert json.loads(rule) == ALLOWED, rule
        assert "b2 is absent: online without Tailscale SSH" in said and "b3 is unknown: no source has told of it" in said, said
        assert "b2 is no builder now: online without" in hub.succeed("muster status")

    with subtest("who is meant by name, and has not the tag, is told so"):
        coordinator.stop()
        coordinator.start('[[source]]\ntailscale = { tag = "tag:other", names = ["b1"] }\n')
        coordinator.machine.wait_until_succeeds("muster status | grep -q b1")
        status, said = hub.execute("muster wait b1 b2 --wait 1s 2>&1")
        assert status == 3 and "b1 is absent: it has not the tag tag:other" in said, said
        assert "b2 is unknown: the tailnet has it, but its name is not among those that this source asks for" in said, said
        coordinator.stop()
        coordinator.start(by_tag() + RETRY)
        coordinator.wait_for(lambda rows: "policy" in (rows.get("b1", {}).get("reason") or ""), "b1 denies us")

    with subtest("who comes is told on the way, and the end is there at once"):
        waiting = hub.spawn("muster wait b1 b2 b3 --wait 60s 2>&1; echo ended with $?")
        tailnet.allow_ssh([ALLOWED])
        b2.succeed("tailscale set --ssh")
        coordinator.wait_for_health("healthy", "b1", "b2")
        assert waiting.is_running()
        tailnet.join(b3)
        coordinator.wait_for_health("healthy", "b3")
        began = time.monotonic()
        said = waiting.succeed(20)
        assert time.monotonic() - began < 3 and "3 builders are ready: b1, b2, b3" in said and "ended with 0" in said, said
        assert "2 of 3 ready" in said, said

    with subtest("who has less than all waits for all, and is content with less when the time is over"):
        began = time.monotonic()
        said = hub.succeed("muster wait b1 b2 b9 --min-builders 2 --wait 4s 2>/dev/null")
        assert time.monotonic() - began >= 4, "it went on before its time"
        assert "2 builders are ready: b1, b2; 3 were waited for" in said and "b9 is unknown" in said, said
        status, said = hub.execute("muster wait b1 b8 b9 --min-builders 2 --wait 1s 2>&1")
        assert status == 3 and "1 of 3 builders are ready" in said and "2 are needed" in said, said
        began = time.monotonic()
        hub.succeed("muster wait b1 b2 --min-builders 1 --wait 60s", "muster wait --min-builders 2 --wait 60s")
        assert time.monotonic() - began < 10, "all are there, so nothing is waited for"

    with subtest("a machine that is gone satisfies nobody; its successor does, under the name that it asked for"):
        b3.succeed("/run/lab/service stop tailscaled")
        # Control takes a machine for gone some seconds after its connection is.
        coordinator.wait_for(lambda rows: "b3" not in rows, "b3 is gone", 60)
        status, said = hub.execute("muster wait b3 --wait 1s --json 2>/dev/null")
        (row,) = json.loads(said)["builders"]
        assert status == 3 and (row["state"], row["reason"]) == ("absent", "offline"), said
        b3.succeed("rm -r /var/lib/tailscale", "/run/lab/service start tailscaled")
        tailnet.join(b3)
        found = json.loads(hub.succeed("muster wait b3 --wait 30s --json 2>/dev/null"))
        (row,) = found["builders"]
        assert found["met"] and row["known_as"].startswith("b3-"), found

    with subtest("one that does not stay waits likewise, and writes its lines"):
        coordinator.stop()
        alone = "muster coordinator --config /run/muster.toml --attach direct --once"
        status, said = hub.execute(f"{alone} --min-builders 4 --wait 4s 2>&1", timeout=60)
        assert status == 3 and "3 of 4 builders are ready" in said, said
        began = time.monotonic()
        said = hub.succeed(f"{alone} --min-builders 3 --wait 60s 2>&1", timeout=80)
        assert said.count("\nssh-ng://root@100.64.") == 3, said
        assert time.monotonic() - began < 30, said
