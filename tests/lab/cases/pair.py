"""Two directors: keepalived moves the VIP, the kernel tells the other one of connections. The files of deploy/keepalived."""

import contextlib
import os
import signal
import socket
import tempfile
import time
from pathlib import Path

from ftpload import MODES, Session, load
from hosts import poll
from realserver import BIG
from selection import long
from topology import GATEWAY, VIP, Topology

EXAMPLE = Path("/repo/deploy/keepalived")
DATA = "ftpdirector_data_connections_total"


def test_nat_pair():
    pair("nat")


@long
def test_dr_pair():
    pair("dr")


def pair(forwarding):
    """The master loses its power: logged-in clients and a transfer under way go on, new ones are served."""
    with Topology(forwarding, pair=True) as net:
        first, second = both(net)
        with net.client1.enter():
            session = Session(net.vip)
            for mode in MODES:
                assert session.fetch(session.announce(mode)).decode().strip() == session.server, mode
            transfer = Download(session)
        poll(lambda: second.knows(session.sock) and second.knows(transfer.data), what="both connections at the backup")

        first.dies()
        poll(second.is_master, what=second.log)
        assert transfer.rest() == BIG
        session.voidresp()
        with net.client1.enter():
            for mode in MODES:
                assert session.fetch(session.announce(mode)).decode().strip() == session.server, mode
        report = load(net.client1, net.vip, sessions=6, rounds=1)
        assert report.right == report.total == 24, report
        metrics = second.daemon.metrics()
        assert metrics.sum(DATA, result="landed") >= 28 and metrics.sum(DATA, result="misdirected") == 0, metrics


def both(net):
    """Two directors; the first is the master."""
    first, second = directors = [Director(net, host) for host in net.directors]
    for director in directors:
        director.daemon.wait_ready()
    listed = [director.host.run(["ipvsadm", "-Ln"]).stdout for director in directors]
    assert listed[0] == listed[1], "".join(listed)
    first.keepalive()
    poll(first.is_master, what=first.log)
    second.keepalive()
    poll(lambda: "backup sync daemon" in second.syncd(), what=second.log)
    assert "master sync daemon" in first.syncd() and not second.is_master()
    return directors


def test_nat_failback():
    failback("nat")


@long
def test_dr_failback():
    failback("dr")


def failback(forwarding):
    """The master loses its power, comes back as the backup, and takes over again when the other loses its power: no session is
    lost, a PASV in flight lands, nobody waits for what went by at the other director."""
    with Topology(forwarding, pair=True) as net:
        first, second = both(net)
        with net.client1.enter():
            sessions = [Session(net.vip, timeout=40) for _ in range(6)]
            for session in sessions:
                session.fetch(session.announce("EPSV"))
            asked = [session.announce(mode) for session, mode in zip(sessions, ("EPSV", "PASV") * 3)]
        poll(lambda: all(second.knows(session.sock) for session in sessions), what="every session at the backup")

        first.dies()
        poll(second.is_master, what=second.log)
        with net.client1.enter():
            for session, opening in zip(sessions, asked):
                assert session.fetch(opening).decode().strip() == session.server
            # The two streams go on where the first director does not see them.
            for session in sessions:
                for _ in range(10):
                    session.sendcmd("NOOP")
        poll(lambda: "VIPs are here" in second.daemon.log(), what=second.daemon.log)

        first.returns()
        poll(lambda: "backup sync daemon" in first.syncd(), what=first.log)
        with net.client1.enter():
            asked = [session.announce(mode) for session, mode in zip(sessions, ("EPSV", "PASV") * 3)]
        second.dies()
        poll(first.is_master, what=first.log)
        began = time.monotonic()
        with net.client1.enter():
            for session, opening in zip(sessions, asked):
                assert session.fetch(opening).decode().strip() == session.server
            for session in sessions:
                for mode in MODES:
                    assert session.fetch(session.announce(mode)).decode().strip() == session.server, mode
        print(f"# {forwarding}: 30 transfers after the failback took {time.monotonic() - began:.1f} s")
        assert "VIPs have left" in first.daemon.log(), first.daemon.log()
        for director in (first, second):
            assert director.daemon.metrics().sum(DATA, result="misdirected") == 0


class Director:
    """One of the two: ftpdirector and keepalived, in a network namespace."""

    def __init__(self, net, host):
        self.host = host
        host.sysctl_file(EXAMPLE / "sysctl.conf")
        # They share the guest's files, so not the socket.
        self.socket = f"/run/ftpdirector/{host.name}.sock"
        config = net.config()
        for number, server in enumerate(net.servers, 1):
            config = config.replace(f"name: {server.name},", f"name: {server.name}, mark: {number},")
        self.daemon = net.start_daemon(config + f"admin: {{socket: {self.socket}}}\n", director=host)
        self.forwarding = net.forwarding
        self.keepalived = None

    def keepalive(self):
        """The example's keepalived.conf with the lab's addresses; both sides are one network here, and there is no systemd."""
        changes = {
            "192.0.2.10/32": f"{VIP}/32",
            "10.0.0.1/24": f"{GATEWAY}/24",
            "eth1": "eth0",
            "/usr/bin/systemctl is-active --quiet ftpdirector.service": f"/usr/bin/test -S {self.socket}",
            # On a machine that is busy with something else the master must not seem dead.
            "advert_int 1": "advert_int 2",
            "    notify /etc/keepalived/notify\n": "",
        }
        if self.forwarding != "nat":
            changes["        10.0.0.1/24 dev eth1\n"] = ""
        text = EXAMPLE.joinpath("keepalived.conf").read_text()
        for old, new in reversed(changes.items()):
            assert old in text or old == "10.0.0.1/24", old
            text = text.replace(old, new)
        self.files = Path(tempfile.mkdtemp())
        conf = self.files / "keepalived.conf"
        conf.write_text(text)
        pids = [f"--pid={self.files}/pid", f"--vrrp_pid={self.files}/vrrp", f"--checkers_pid={self.files}/checkers"]
        with open(self.files / "log", "w") as log:
            command = ["keepalived", "--dont-fork", "--log-console", "--vrrp", f"--use-file={conf}", *pids]
            self.keepalived = self.host.popen(command, stdout=log, stderr=log)

    def log(self):
        return f"{self.host.name}: keepalived said:\n" + (self.files / "log").read_text()

    def is_master(self):
        return f"{VIP}/32" in self.host.run(["ip", "-4", "address", "show", "dev", "eth0"]).stdout

    def syncd(self):
        return self.host.run(["ipvsadm", "-l", "--daemon"]).stdout

    def knows(self, connection):
        """Whether the kernel has an entry for a client's connection."""
        address, port = connection.getsockname()
        return f" {address}:{port} " in self.host.run(["ipvsadm", "-Lcn"]).stdout

    def dies(self):
        """As without power: from one moment to the next it says nothing any more."""
        self.host.ip("link set eth0 down")
        child = int((self.files / "vrrp").read_text())
        self.keepalived.kill()
        self.keepalived.wait()
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    def returns(self):
        """As when the power comes back, except that the daemon and its sessions have survived. Until then it had the addresses."""
        for address in (f"{VIP}/32", f"{GATEWAY}/24"):
            self.host.run(["ip", "address", "delete", address, "dev", "eth0"], check=False)
        poll(lambda: "VIPs have left" in self.daemon.log(), what=self.daemon.log)
        for state in ("master", "backup"):
            self.host.run(["ipvsadm", "--stop-daemon", state], check=False)
        self.host.ip("link set eth0 up", "route replace default via 10.0.0.1")
        self.keepalive()


class Download:
    """A big file that is under way, with a client that has stopped reading."""

    def __init__(self, session):
        host, port = VIP, int(session.sendcmd("EPSV").split("|")[3])
        self.data = socket.socket()
        # Little room, so that most of the file is still to come.
        self.data.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        self.data.settimeout(60)
        self.data.connect((host, port))
        assert session.sendcmd("RETR big.bin").startswith("1")
        self.got = len(self.data.recv(1 << 16))

    def rest(self):
        while chunk := self.data.recv(1 << 16):
            self.got += len(chunk)
        self.data.close()
        return self.got
