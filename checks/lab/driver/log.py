"""What a run says: to its log file always, and to the terminal if asked."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator


class Log:
    """Lines with the seconds since the run began."""

    def __init__(self, path: Path, loud: bool) -> None:
        self._file = path.open("w", buffering=1)
        self._loud = loud
        self._depth = 0
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        for line in text.splitlines() or [""]:
            stamped = f"{time.monotonic() - self._began:7.2f} {'  ' * self._depth}{line}"
            self._file.write(stamped + "\n")
            if self._loud:
                print(stamped, file=sys.stderr, flush=True)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Everything said inside is indented below the title."""
        self.say(title)
        began = time.monotonic()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        self.say(f"({title}: {time.monotonic() - began:.2f} s)")
