"""Where the measurements take place: stores, Nix, a coordinator, and groups of processes whose CPU time is counted.

Runs inside the root file systems too, whose Python lacks most of the standard library.
"""

import os
import signal
import subprocess
import time

CONFIG = """local_store = "local?root={base}/client"
nix_daemon = "{daemon}"

[endpoint]
program = "{program}"
local = "never"
"""

BUILDER = """
[[builder]]
name = "{name}"
uri = "process:{base}/{name}"
slots = {slots}
"""

NIX_CONF = """substituters =
experimental-features = nix-command
sandbox = true
sandbox-fallback = false
sandbox-paths = /bin/sh={busybox}
build-users-group =
require-sigs = false
"""


class Stage:
    """A directory with an environment for Nix, in which nothing of the machine's own Nix is used."""

    def __init__(self, base, muster):
        self.base, self.muster = base, muster
        self.salts = 0
        self.coordinators = []
        self.system = f"{os.uname().machine}-linux"
        state = f"{base}/var"
        for path in [f"{base}/conf", f"{base}/home", state]:
            os.makedirs(path)
        busybox = next(p for p in ["/bin/busybox", "/usr/bin/busybox"] if os.path.exists(p))
        write(f"{base}/conf/nix.conf", NIX_CONF.format(busybox=os.path.realpath(busybox)))
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": f"{base}/home",
            "TMPDIR": base,
            "NIX_CONF_DIR": f"{base}/conf",
            "NIX_STATE_DIR": state,
            "NIX_LOG_DIR": f"{state}/log",
        }

    def run(self, *command, group=None):
        """Runs a command to its end and says what it took."""
        began = time.monotonic()
        child = self.start(command, group)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        wall = time.monotonic() - began
        own = own_cpu(child.pid)
        said = open(f"{self.base}/said").read()
        if child.wait() != 0:
            raise RuntimeError(f"{' '.join(command)[:300]}\nended with {child.returncode}: {said[-2000:]}")
        return Took(wall, own, said)

    def start(self, command, group=None):
        with open(f"{self.base}/said", "wb") as log:
            return subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, stdout=log,
                                    stderr=subprocess.STDOUT, preexec_fn=group.join if group else None)

    def close(self):
        for coordinator in list(self.coordinators):
            coordinator.stop()

    def nix_build(self, graph, builders, *options):
        names, text = graph
        self.salts += 1
        path = f"{self.base}/graph.nix"
        write(path, text.replace("@SALT@", f"{os.getpid()}-{self.salts}").replace("@SYSTEM@", self.system))
        return ["nix", "build", "--store", f"local?root={self.base}/client", "--no-link", "-j0", "-f", path,
                "--builders", builders, *options, *names]

    def build(self, graph, builders, *options, group=None):
        return self.run(*self.nix_build(graph, builders, *options), group=group)

    def stock_line(self, names, slots, program=None):
        """What stock's own users write for these builders."""
        extra = f"&remote-program={program}" if program else ""
        line = "ssh-ng://localhost?remote-store={}{} {} - {} 1"
        return " ; ".join(line.format(f"{self.base}/{name}", extra, self.system, slots) for name in names)


class Took:
    """Seconds of wall time and of the process's own CPU, and its output."""

    def __init__(self, wall, own, said):
        self.wall, self.own, self.said = wall, own, said


class Coordinator:
    """A running `muster coordinator` with embedded builders."""

    def __init__(self, stage, name, builders, slots, program=None, daemon="nix-daemon", group=None):
        self.stage, self.dir = stage, f"{stage.base}/{name}"
        os.makedirs(self.dir)
        config = CONFIG.format(base=stage.base, daemon=daemon, program=program or stage.muster)
        config += "".join(BUILDER.format(name=b, base=stage.base, slots=slots) for b in builders)
        write(f"{self.dir}/config.toml", config)
        self.places = ["--config", f"{self.dir}/config.toml", "--runtime-dir", f"{self.dir}/run",
                       "--state-dir", f"{self.dir}/state"]
        self.log = open(f"{self.dir}/log", "wb")
        self.child = subprocess.Popen([stage.muster, "coordinator", *self.places], env=stage.env,
                                      stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                      preexec_fn=group.join if group else None)
        stage.coordinators.append(self)
        self.machines = f"{self.dir}/run/machines"
        self.wait_until_healthy(len(builders))

    def wait_until_healthy(self, count):
        for _ in range(200):
            if self.child.poll() is not None:
                break
            seen = subprocess.run([self.stage.muster, "status", "--json", *self.places], env=self.stage.env,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            if seen.stdout.count(b'"healthy"') == count:
                return
            time.sleep(0.05)
        raise RuntimeError("the coordinator does not get ready: " + open(self.log.name).read()[-2000:])

    @property
    def builders(self):
        return f"@{self.machines}"

    def line(self):
        """What stock Nix passes on as `--store`."""
        uri = open(self.machines).read().split()[0]
        value = next(part for part in uri.split("?")[1].split("&") if part.startswith("remote-store="))
        return unquote(value.removeprefix("remote-store="))

    def resident(self):
        return status_field(self.child.pid, "VmRSS")

    def stop(self):
        self.stage.coordinators.remove(self)
        self.child.send_signal(signal.SIGTERM)
        self.child.wait()
        self.log.close()


class Groups:
    """Control groups: what the processes in each have computed, also those that are gone."""

    def __init__(self, base):
        self.root, self.mounted = find_hierarchy(base)
        self.version2 = os.path.exists(f"{self.root}/cgroup.controllers")
        self.names = []
        self.mark = f"bench-{os.urandom(4).hex()}"

    def make(self, name):
        path = f"{self.root}/{self.mark}-{name}"
        os.mkdir(path)
        self.names.append(path)
        return Group(path, self.version2)

    def close(self):
        for path in self.names:
            for _ in range(100):
                try:
                    os.rmdir(path)
                    break
                except OSError:
                    time.sleep(0.05)
        if self.mounted:
            subprocess.run(["umount", self.root], check=False)


class Group:
    def __init__(self, path, version2):
        self.path, self.version2 = path, version2

    @property
    def procs(self):
        return f"{self.path}/cgroup.procs"

    def join(self):
        write(self.procs, "0")

    def cpu(self):
        """Seconds."""
        if self.version2:
            usage = open(f"{self.path}/cpu.stat").readline().split()
            return int(usage[1]) / 1e6
        return int(open(f"{self.path}/cpuacct.usage").read()) / 1e9


def find_hierarchy(base):
    for line in open("/proc/mounts"):
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup" and "cpuacct" in options.split(",") and os.access(place, os.W_OK):
            return place, False
    place = f"{base}/cgroup"
    os.mkdir(place)
    for kind in [["-t", "cgroup", "-o", "cpuacct"], ["-t", "cgroup", "-o", "cpu,cpuacct"], ["-t", "cgroup2"]]:
        if subprocess.run(["mount", *kind, "none", place], stderr=subprocess.DEVNULL).returncode == 0:
            return place, True
    raise OSError("no control groups that count CPU time")


def own_cpu(pid):
    """Seconds of user and system time of a process, its children not counted. Also of one that waits to be reaped."""
    words = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def status_field(pid, field, file="status"):
    """MB; none where the process has ended."""
    try:
        for line in open(f"/proc/{pid}/{file}"):
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024 / 1e6
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None


def processes():
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                yield int(name), open(f"/proc/{name}/cmdline").read().split("\0")
            except OSError:
                pass


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def script(path, text):
    write(path, text)
    os.chmod(path, 0o755)
    return path


def unquote(text):
    first, *rest = text.split("%")
    return first + "".join(chr(int(part[:2], 16)) + part[2:] for part in rest)
