"""Does a tailnet builder's agent let those coordinators claim it whose machine has an allowed tag, and nobody else, although ssh lets them in?"""

from __future__ import annotations

from lib import Agent, Coordinator, Machine, nix_build, ran_on, several, start_all, start_build, subtest, wait_for, write
from lib_tailnet import Tailnet, by_tag

needs = ("command:builder",)
limit_seconds = 200
nodes = {
    "control": {"role": "control"},
    "hub": {"role": "coordinator", "tailscale": True},
    "other": {"role": "coordinator", "tailscale": True},
    "b1": {"role": "builder", "tailscale": True, "authorized": False, "access": "ssh"},
}
# What a coordinator says first, by hand, where its login comes from included; prints what the agent answers.
CLAIM = """
import socket, sys
agent = socket.socket(socket.AF_UNIX)
agent.connect("/run/muster-builder/agent.sock")
origin = ['{"muster":"origin","from":"%s"}' % address for address in sys.argv[1:]]
claim = '{"ask":"claim","coordinator":"0123456789abcdef","name":"hand","running":0,"wanted":0,"capacity":1,"granted":0}'
agent.sendall("\\n".join([*origin, '{"muster":"agent","version":1}', claim, ""]).encode())
agent.settimeout(10)
heard = agent.makefile()
print(heard.readline(), heard.readline())
"""


def script(control: Machine, hub: Machine, other: Machine, b1: Machine) -> None:
    start_all()
    tailnet = Tailnet(control)
    tailnet.allow_ssh([{"action": "accept", "src": ["tag:ci", "tag:other"], "dst": ["tag:nix-builder"], "users": ["root"]}])
    tailnet.join(hub, other, b1, tags={"hub": "tag:ci", "other": "tag:other"})
    agent = Agent(b1)
    agent.start("--allow-tag tag:ci")
    allowed, refused = Coordinator(hub), Coordinator(other)

    with subtest("a machine with the tag claims it, and builds"):
        allowed.start(by_tag())
        allowed.wait_for_health("healthy", "b1")
        agent.wait_for_claims(1)
        assert agent.claims()[0]["coordinator"] == "hub", agent.claims()
        assert {ran_on(path, [b1]) for path in nix_build(hub, several(2))} == {"b1"}

    with subtest("one without it, which ssh lets in, is refused, and both sides say who and why"):
        refused.start(by_tag())
        address = other.succeed("tailscale ip -4").strip()
        why = f"({address}) may not claim this builder: it has not the tag tag:ci"
        wait_for(lambda: why in refused.log(), "the coordinator says it")
        assert f"other {why}" in refused.log() or f"other.t.test {why}" in refused.log(), refused.log()
        assert why in agent.log(), agent.log()
        refused.wait_for(lambda rows: why in (rows["b1"]["drained"] or ""), "the status has it")
        assert [claim["coordinator"] for claim in agent.claims()] == ["hub"], agent.claims()

        status, said = other.execute("muster wait b1 --wait 1s 2>&1")
        assert status == 3 and "b1 is refused: other" in said and why in said, said

    with subtest("it builds nothing there; the other one still does"):
        build = start_build(other, several(1))
        wait_for(lambda: why in other.succeed("muster status"), "a build waits")
        assert {ran_on(path, [b1]) for path in nix_build(hub, several(2))} == {"b1"}
        assert build.is_running(), build.output()

    with subtest("so is whoever does not say where it comes from, and whoever says another place than its login has"):
        write(b1, "/root/claim.py", CLAIM)
        said = b1.succeed("python3 /root/claim.py")
        assert "nothing says where it comes from" in said and "refused" in said, said
        lie, b1_is = (machine.succeed("tailscale ip -4").strip() for machine in (hub, b1))
        said = other.succeed(f"ssh -o StrictHostKeyChecking=no root@{b1_is} python3 /root/claim.py {lie}")
        assert why in said, said

    with subtest("an agent that allows the other tag, too, is claimed by both, and the build goes on"):
        b1.succeed("muster builder release")
        wait_for(agent.has_ended, "it ends", 10)
        agent.start("--allow-tag tag:ci --allow-tag tag:other")
        agent.wait_for_claims(2, timeout=60)
        assert {ran_on(path, [b1]) for path in build.succeed(60).split()[-1:]} == {"b1"}
