"""Stands for a service manager: listens on SOCKET and runs COMMAND with it, again each time that it ends.

Not again after a usage error, as with RestartPreventExitStatus=2. NAME is the socket's FileDescriptorName.

activate.py NAME SOCKET COMMAND...
"""

import os
import socket
import sys

FIRST_PASSED = 3
USAGE_ERROR = 2


def main() -> None:
    name, path, command = sys.argv[1], sys.argv[2], sys.argv[3:]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    while True:
        pid = os.fork()
        if pid == 0:
            os.dup2(listener.fileno(), FIRST_PASSED)
            os.set_inheritable(FIRST_PASSED, True)
            os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES=name, LISTEN_PID=str(os.getpid()))
            os.execvp(command[0], command)
        _, status = os.waitpid(pid, 0)
        if os.waitstatus_to_exitcode(status) == USAGE_ERROR:
            sys.exit(USAGE_ERROR)


main()
