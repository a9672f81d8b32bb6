"""systemd on the director, and in it the package: what an administrator has."""

import re
from pathlib import Path

from hosts import poll

# With a view of its own of processes, mounts and control groups: process 1 of the guest is the lab's.
BOOT = """
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec env container=lab /usr/lib/systemd/systemd --unit=basic.target --show-status=no
"""


class Systemd:
    """systemd on the director."""

    def __init__(self, director):
        self.director = director
        unshare = "unshare --pid --fork --kill-child --mount --mount-proc --cgroup bash -c".split()
        self.unshare = director.popen([*unshare, BOOT])
        children = Path(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children")
        self.process = poll(lambda: children.read_text().split(), what="a child of unshare")[0]
        poll(lambda: self.says("systemctl", "is-active", "basic.target") == "active", 120, "basic.target")

    def run(self, *command, check=True, timeout=300):
        inside = ["nsenter", "--target", self.process, "--mount", "--pid", "--cgroup"]
        return self.director.run([*inside, *command], check=check, timeout=timeout)

    def says(self, *command):
        return self.run(*command, check=False).stdout.strip()

    def property(self, name):
        return self.says("systemctl", "show", "--value", "--property", name, "ftpdirector")

    def handed_on(self):
        """How often a daemon went on with the queue of the one before, in this guest."""
        journal = self.says("journalctl", "--no-pager", "--unit", "ftpdirector")
        return journal.count("control packets have waited for this start")

    def status_of_daemon(self, field):
        status = self.run("cat", f"/proc/{self.property('MainPID')}/status").stdout
        return re.search(rf"^{field}:\s*(\S+)", status, re.MULTILINE)[1]
