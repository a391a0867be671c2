"""What of the matrix has passed with these sources and this program, so that it can go on where it was broken off."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from .driver import REPOSITORY

LOG = REPOSITORY / "target/logs/passed"


class Passed:
    """A file: what it is true of, then a line for each job. It is begun anew with other sources, and not kept without git."""

    def __init__(self, program: Path) -> None:
        self._key = key(program)
        lines = LOG.read_text().splitlines() if LOG.exists() else []
        fits = self._key is not None and lines[:1] == [self._key]
        self.before = frozenset(lines[1:] if fits else [])
        if self._key is not None and not fits:
            LOG.parent.mkdir(parents=True, exist_ok=True)
            LOG.write_text(self._key + "\n")

    def add(self, job: object) -> None:
        if self._key is not None:
            with LOG.open("a") as log:
                log.write(f"{job}\n")


def key(program: Path) -> str | None:
    """A name for the files as they are: the commit, what was changed since, and the program."""
    try:
        states = [git("rev-parse", "HEAD"), git("diff", "HEAD"), git("status", "--porcelain"), program.read_bytes()]
    except (OSError, subprocess.CalledProcessError):
        return None
    return hashlib.sha256(b"".join(hashlib.sha256(state).digest() for state in states)).hexdigest()


def git(*words: str) -> bytes:
    return subprocess.run(["git", "-C", str(REPOSITORY), *words], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
