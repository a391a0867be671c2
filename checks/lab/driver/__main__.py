"""Runs one scenario in the box that this process is the first of. `jobs` starts it."""

from __future__ import annotations

import argparse
import inspect
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType, ModuleType

from .driver import Driver, REPOSITORY
from .nodes import Versions
from .plan import SCENARIOS, limit_seconds, load

KEPT_HINT = "to look around from outside: nsenter --all --target $(pgrep -of 'lab/init {run} {name}$') bash"


def main() -> int:
    arguments = parse()
    scenario = load(arguments.scenario)
    versions = Versions(*arguments.versions)
    driver = Driver(scenario.nodes, versions, arguments.run, arguments.logs, arguments.muster, arguments.loud)
    limit(limit_seconds(arguments.scenario))
    status = 0
    try:
        script(scenario, driver)
    except BaseException:
        status = 1
        driver.log.say(where())
    signal.alarm(0)
    if arguments.keep:
        wait_for_enter(driver, arguments.run)
    driver.end()
    return status


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="driver")
    parser.add_argument("scenario")
    parser.add_argument("--versions", nargs=3, metavar=("COORDINATOR", "BUILDER", "ACCESS"))
    parser.add_argument("--run")
    parser.add_argument("--logs", type=Path)
    parser.add_argument("--muster", type=Path)
    parser.add_argument("--loud", action="store_true")
    parser.add_argument("--keep", action="store_true")
    return parser.parse_args()


def script(scenario: ModuleType, driver: Driver) -> None:
    """Calls the scenario's `script` with the machines that its parameters name."""
    import lib

    lib.bind(driver)
    driver.log.say(f"{scenario.__name__}: {(scenario.__doc__ or '').strip()}")
    driver.log.say("; ".join(f"{node.name} has Nix {node.nix}" for node in driver.nodes))
    parameters = inspect.signature(scenario.script).parameters.values()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    names = driver.machines if takes_all else [parameter.name for parameter in parameters]
    scenario.script(**{name: driver.machines[name] for name in names})


def where() -> str:
    """The exception at hand, with the scenario's own lines; all lines if it broke elsewhere."""
    kind, error, trace = sys.exc_info()
    frames = [frame for frame in traceback.extract_tb(trace) if frame.filename.startswith(str(SCENARIOS))]
    if not frames:
        return traceback.format_exc()
    return "".join(traceback.format_list(frames) + traceback.format_exception_only(kind, error))


def limit(seconds: int) -> None:
    """A scenario that takes longer fails, with a traceback that shows where it was."""

    def too_long(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"the scenario takes longer than {seconds} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)


def wait_for_enter(driver: Driver, run: str) -> None:
    for name in driver.machines:
        print(KEPT_HINT.format(run=run, name=name), file=sys.stderr)
    print("Enter ends all.", file=sys.stderr)
    sys.stdin.readline()


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY / "checks/scenarios"))
    sys.exit(main())
