"""Do builders of four systems build one graph by direct attach, with nothing of muster running any more?"""

from __future__ import annotations

import four_systems
from lib import Coordinator, Machine, start_all, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1", "option:coordinator --attach", "option:coordinator --once")
nodes = four_systems.nodes


def script(localmachine: Machine, intel: Machine, arm: Machine, oldmac: Machine, mac: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)

    with subtest("muster writes a line for each, and is gone"):
        coordinator.configure(builders=[uri(name) for name in four_systems.SYSTEMS])
        coordinator.run_once("--attach direct --once")

    with subtest("stock Nix builds the graph"):
        four_systems.check(localmachine, [intel, arm, oldmac, mac])
