"""As little of Nix's worker protocol as it takes to see how fast somebody at the other end is."""

import os
import struct
import subprocess

HELLO, HELLO_BACK, LAST = 0x6E697863, 0x6478696F, 0x616C7473
OURS = 1 << 8 | 35
QUERY_VALID_PATHS = 31


class Daemon:
    """A program that speaks the protocol on its stdin and stdout."""

    def __init__(self, command, env):
        self.child = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL, bufsize=0)
        self.send(HELLO)
        self.expect(HELLO_BACK)
        self.version = min(self.number(), OURS)
        self.send(OURS, 0, 0)
        if self.version & 0xFF >= 33:
            self.text()
        if self.version & 0xFF >= 35:
            self.number()
        self.expect(LAST)

    def query_no_paths(self):
        self.send(QUERY_VALID_PATHS, 0, 0)
        self.expect(LAST)
        self.expect(0)

    def close(self):
        self.child.stdin.close()
        self.child.wait()
        self.child.stdout.close()

    def send(self, *numbers):
        os.write(self.child.stdin.fileno(), struct.pack(f"<{len(numbers)}Q", *numbers))

    def number(self):
        return struct.unpack("<Q", self.take(8))[0]

    def text(self):
        length = self.number()
        return self.take(-(-length // 8) * 8)[:length]

    def expect(self, number):
        got = self.number()
        if got != number:
            raise RuntimeError(f"{got:#x} where {number:#x} was due")

    def take(self, length):
        taken = b""
        while len(taken) < length:
            piece = self.child.stdout.read(length - len(taken))
            if not piece:
                raise RuntimeError("closed in the middle of an answer")
            taken += piece
        return taken
