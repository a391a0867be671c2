"""delay.py TAP TAP: a line between two taps that hands each frame on after half of the round-trip time.

The round-trip time in milliseconds is read from stdin, the latest number counts. Frames are passed with the kernel's
own header for offloaded work, so that up to 64 KiB travel as one.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import sys
import time
from collections import deque

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
TAP_WITH_HEADER = 0x0002 | 0x1000 | 0x4000  # IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
CHECKSUM_AND_SEGMENTS = 1 | 2 | 4  # TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6
LARGEST = 10 + 14 + 65536
MOST_QUEUED = 20_000

Queue = deque[tuple[float, bytes]]


def open_tap(name: str) -> int:
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), TAP_WITH_HEADER))
    fcntl.ioctl(tap, TUNSETOFFLOAD, CHECKSUM_AND_SEGMENTS)
    return tap


def receive(tap: int, queue: Queue, one_way: float) -> None:
    for _ in range(64):
        try:
            frame = os.read(tap, LARGEST)
        except OSError:  # nothing more, or not up yet
            return
        if len(queue) < MOST_QUEUED:
            queue.append((time.monotonic() + one_way, frame))


def deliver(tap: int, queue: Queue) -> None:
    now = time.monotonic()
    while queue and queue[0][0] <= now:
        try:
            os.write(tap, queue.popleft()[1])
        except OSError:  # a cable may lose frames
            pass


def main() -> None:
    taps = [open_tap(name) for name in sys.argv[1:3]]
    queues: list[Queue] = [deque(), deque()]  # towards the tap of the same index
    one_way = 0.0
    print("ready", flush=True)
    while True:
        due = [queue[0][0] for queue in queues if queue]
        timeout = max(0.0, min(due) - time.monotonic()) if due else None
        readable = select.select([0, *taps], [], [], timeout)[0]
        if 0 in readable:
            words = os.read(0, 4096).split()
            if not words:
                return
            one_way = float(words[-1]) / 2000
        for index, tap in enumerate(taps):
            if tap in readable:
                receive(tap, queues[1 - index], one_way)
        for tap, queue in zip(taps, queues):
            deliver(tap, queue)


if __name__ == "__main__":
    main()
