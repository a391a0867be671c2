"""Stands for a service manager: listens on SOCKET and runs COMMAND with it, again each time that it ends.

activate.py SOCKET COMMAND...
"""

import os
import socket
import sys

FIRST_PASSED = 3


def main() -> None:
    path, command = sys.argv[1], sys.argv[2:]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    while True:
        pid = os.fork()
        if pid == 0:
            os.dup2(listener.fileno(), FIRST_PASSED)
            os.set_inheritable(FIRST_PASSED, True)
            os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="endpoint", LISTEN_PID=str(os.getpid()))
            os.execvp(command[0], command)
        os.waitpid(pid, 0)


main()
