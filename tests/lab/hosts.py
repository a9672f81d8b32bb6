"""Hosts of the lab: each is a network namespace of the guest."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path

NAMESPACES = Path("/run/netns")
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def poll(condition, deadline=60.0, what="the condition"):
    """Returns the first true value of `condition`; fails when `deadline` seconds are over.

    The only place that sleeps: tests wait for what they need, never for a time. The deadline is for a machine that is busy
    with something else; a test that passes does not reach it. `what` may be a function that tells the state at the end.
    """
    end = time.monotonic() + deadline
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what() if callable(what) else what} did not hold within {deadline:g} s")
        time.sleep(0.02)
    return value


class Host:
    """One network namespace and what runs in it."""

    def __init__(self, name, address=None, address6=None):
        self.name = name
        self.address = address
        self.address6 = address6

    @property
    def path(self):
        return NAMESPACES / self.name

    @contextlib.contextmanager
    def enter(self):
        """Moves this thread into the host: sockets, processes and threads made inside belong to it."""
        with open("/proc/thread-self/ns/net") as home, open(self.path) as there:
            setns(there)
            try:
                yield self
            finally:
                setns(home)

    def run(self, command, check=True, **options):
        """Runs a command to its end; returns it with its output as text."""
        options = {"capture_output": True, "text": True, "timeout": 60} | options
        with self.enter():
            done = subprocess.run([str(word) for word in command], **options)
        if check and done.returncode != 0:
            raise AssertionError(f"{self.name}: {command} → {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def popen(self, command, **options):
        """Starts a command in the background. It ends with the topology at the latest."""
        with self.enter():
            return subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, **options)

    def ip(self, *lines):
        """Runs lines of `ip` in one go."""
        self.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n")

    def nft(self, ruleset):
        self.run(["nft", "-f", "-"], input=ruleset)

    def sysctl(self, **values):
        """Sets `net.` values; `__` stands for a dot: `ipv4__ip_forward=1`."""
        with self.enter():
            for key, value in values.items():
                Path("/proc/sys/net", *key.split("__")).write_text(str(value))

    def sysctl_file(self, path):
        """Sets what a file of sysctl.d says."""
        lines = [line.split(" = ") for line in Path(path).read_text().splitlines() if line and not line.startswith("#")]
        self.sysctl(**{name.removeprefix("net.").replace(".", "__"): value for name, value in lines})


def setns(namespace):
    """Moves this thread into a network namespace, an open file: os.setns, which Python has since 3.12 and Debian 12 not yet."""
    if LIBC.setns(namespace.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), namespace.name)


def kill_everything_in(hosts):
    """Kills each process in these hosts: a server's children are in its namespace, whoever their parent is now."""
    doomed = {host.path.stat().st_ino for host in hosts if host.path.exists()}

    def kill():
        found = False
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if process.joinpath("ns/net").stat().st_ino in doomed:
                    found = True
                    os.kill(int(process.name), signal.SIGKILL)
        return not found

    poll(kill, what="the end of every process in the lab's namespaces")
