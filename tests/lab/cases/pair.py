"""Two directors: keepalived moves the VIP, the kernel tells the other one of connections. The files of deploy/keepalived."""

import contextlib
import os
import signal
import socket
import tempfile
import time
from pathlib import Path

from daemon import BINARY
from ftpload import MODES, Session, load
from hosts import poll
from realserver import BIG
from rhythm import ACTIVE, Rhythm
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
        transfer.rest()
        with net.client1.enter():
            for mode in MODES:
                assert session.fetch(session.announce(mode)).decode().strip() == session.server, mode
        report = load(net.client1, net.vip, sessions=6, rounds=1)
        assert report.right == report.total == 24, report
        metrics = second.daemon.metrics()
        assert metrics.sum(DATA, result="landed") >= 28 and metrics.sum(DATA, result="misdirected") == 0, metrics


def both(net, conntrackd=False):
    """Two directors; the first is the master."""
    first, second = directors = [Director(net, host, conntrackd) for host in net.directors]
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


@long
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


@long
def test_nat_thirty_sessions():
    thirty("nat")


@long
def test_dr_thirty_sessions():
    thirty("dr")


def thirty(forwarding):
    """Thirty sessions transfer once a second, half of them from one address: the master loses its power, comes back with an empty
    kernel, and takes over again when the other loses its own. No session is lost."""
    with Topology(forwarding, pair=True) as net:
        first, second = both(net)
        own = [f"10.1.0.{100 + number}" for number in range(15)]
        net.client1.ip(*(f"address add {address}/24 dev eth0" for address in own))
        with net.client1.enter():
            rhythm = Rhythm(net.vip, sources=[source for address in own for source in (net.client1.address, address)])
        poll(rhythm.ready, what="every session logged in")
        assert not rhythm.lost, rhythm.lost
        ends = [session.sock.getsockname() for session in rhythm.sessions]
        poll(lambda: second.knows_all(ends), what="every session at the other director")
        astray = take_over(forwarding, rhythm, first, second)
        net.power_returns(net.directors[0])
        first = Director(net, net.directors[0])
        first.daemon.wait_ready()
        first.keepalive()
        began = time.monotonic()
        ends = [ends[number] for number in rhythm.going_on()]
        poll(lambda: first.knows_all(ends), deadline=120.0, what="every session at the director that is back")
        print(f"# {forwarding}: a director that is back knows all sessions after {time.monotonic() - began:.0f} s")
        astray += take_over(forwarding, rhythm, second, first)
        rhythm.stop()
        print(f"# {forwarding}: {len(rhythm.hung)} servers hung in a data connection that was not synchronised: {rhythm.hung}")
        assert not rhythm.lost, rhythm.lost
        assert not rhythm.misdirected, rhythm.misdirected
        assert not astray, f"PASV in flight did not land: {astray}"
        assert first.daemon.metrics().sum(DATA, result="misdirected") == 0


def take_over(forwarding, rhythm, old, new):
    """What the sessions notice of it."""
    began = time.monotonic()
    old.dies()
    poll(new.is_master, what=new.log)
    took = time.monotonic() - began
    # Every mode once, and the ones that hang have been given up.
    poll(lambda: rhythm.each_has(8, since=began + took), deadline=240.0, what="transfers of every session")
    now = time.monotonic()
    failed = rhythm.failed(began, now)
    causes = "; ".join(f"{count} {mode} at {step}: {error}" for (mode, step, error), count in failed.most_common())
    pause = rhythm.longest_pause(began, now)
    print(f"# {forwarding}: VRRP took {took:.1f} s, longest pause {pause:.1f} s, {failed.total()} transfers failed: {causes or 'none'}")
    return [cause for cause in failed if cause[0] not in ACTIVE and cause[1] == "connect"]


@long
def test_nat_conntrackd():
    """What connection tracking carries goes on through two takeovers, in both directions: active transfers, and passive ones whose
    port is translated."""
    with Topology("nat", ranges=[(40000, 40000)] * 3, pair=True) as net:
        first, second = both(net, conntrackd=True)
        with net.client1.enter():
            # In turn; the first of them has the only port of its server's range, so that of the second one is translated.
            servers = [Session(net.vip, timeout=90.0) for _ in range(6)]
            transfers = [
                Download(servers[0]),
                Download(servers[1]),
                Download(servers[2], "PORT"),
                Upload(servers[3], "PORT"),
                Upload(servers[5]),
            ]
        poll(lambda: all(second.carries(one) for one in transfers), what=lambda: f"all at the backup: {second.tracked()}")
        translated = [one for one in transfers if second.translates(one)]
        assert len(translated) == 4, second.tracked()

        began = time.monotonic()
        first.dies()
        poll(second.is_master, what=second.log)
        for one in transfers:
            one.part()
        print(f"# nat: all transfers went on {time.monotonic() - began:.1f} s after the master's death")
        net.power_returns(net.directors[0])
        first = Director(net, net.directors[0], conntrackd=True)
        first.daemon.wait_ready()
        first.keepalive()
        poll(lambda: all(first.carries(one) for one in transfers), deadline=120.0, what=lambda: f"all here: {first.tracked()}")
        second.dies()
        poll(first.is_master, what=first.log)
        for one in transfers:
            one.rest()
        assert net.leaked() == 0


class Director:
    """One of the two: ftpdirector and keepalived, in a network namespace."""

    def __init__(self, net, host, conntrackd=False):
        self.host, self.files = host, Path(tempfile.mkdtemp(dir="/run"))
        host.sysctl_file(EXAMPLE / "sysctl.conf")
        # They share the guest's files, so not the socket.
        self.socket = f"/run/ftpdirector/{host.name}.sock"
        config = net.config()
        for number, server in enumerate(net.servers, 1):
            config = config.replace(f"name: {server.name},", f"name: {server.name}, mark: {number},")
        self.daemon = net.start_daemon(config + f"admin: {{socket: {self.socket}}}\n", director=host)
        self.forwarding = net.forwarding
        self.keepalived = None
        self.conntrackd = self.track() if conntrackd else ()

    def keepalive(self):
        """The example's keepalived.conf with the lab's addresses; both sides are one network here, and there is no systemd."""
        changes = {
            "192.0.2.10/32": f"{VIP}/32",
            "10.0.0.1/24": f"{GATEWAY}/24",
            "eth1": "eth0",
            "/usr/bin/systemctl is-active --quiet ftpdirector.service": f"/usr/bin/test -S {self.socket}",
            # On a machine that is busy with something else the master must not seem dead.
            "advert_int 1": "advert_int 2",
            "/etc/keepalived/notify": str(self.notify()),
        }
        if self.forwarding != "nat":
            changes["        10.0.0.1/24 dev eth1\n"] = ""
        text = EXAMPLE.joinpath("keepalived.conf").read_text()
        for old, new in reversed(changes.items()):
            assert old in text or old == "10.0.0.1/24", old
            text = text.replace(old, new)
        conf = self.files / "keepalived.conf"
        conf.write_text(text)
        pids = [f"--pid={self.files}/pid", f"--vrrp_pid={self.files}/vrrp", f"--checkers_pid={self.files}/checkers"]
        with open(self.files / "log", "w") as log:
            command = ["keepalived", "--dont-fork", "--log-console", "--vrrp", f"--use-file={conf}", *pids]
            self.keepalived = self.host.popen(command, stdout=log, stderr=log)

    def notify(self):
        """The example's script, which finds everything in this director's place."""
        changes = {
            "ftpdirector plan": f"{BINARY} plan --config {self.daemon.config}",
            "/run/conntrackd.ctl": str(self.files / "conntrackd.ctl"),
            "conntrackd -R": " ".join([*map(str, self.conntrackd), "-R"]),
            "conntrackd -n": " ".join([*map(str, self.conntrackd), "-n"]),
            "logger ": f"echo >> {self.files}/notified ",
        }
        script = self.files / "notify"
        script.write_text(replaced(EXAMPLE / "notify", changes))
        script.chmod(0o755)
        return script

    def track(self):
        """Starts conntrackd with the example's conntrackd.conf; returns the command that speaks to it."""
        changes = {
            "10.0.0.2\n": f"{self.host.address}\n",
            "eth1": "eth0",
            "/run/lock/conntrackd.lock": str(self.files / "conntrackd.lock"),
            "/run/conntrackd.ctl": str(self.files / "conntrackd.ctl"),
        }
        conf = self.files / "conntrackd.conf"
        conf.write_text(replaced(EXAMPLE / "conntrackd.conf", changes))
        command = ["conntrackd", "-C", conf]
        with open(self.files / "tracking", "w") as log:
            self.host.popen(command, stdout=log, stderr=log)
        poll((self.files / "conntrackd.ctl").exists, what=(self.files / "tracking").read_text)
        return command

    def tracked(self):
        """The connections that connection tracking has."""
        return self.host.run(["conntrack", "-L", "-p", "tcp"]).stdout

    def translates(self, transfer):
        """Whether connection tracking has a client's data connection."""
        port = transfer.data.getsockname()[1]
        return any(f"port={port} " in line for line in self.tracked().splitlines() if "ESTABLISHED" in line)

    def carries(self, transfer):
        return self.knows(transfer.session.sock) and (self.knows(transfer.data) or self.translates(transfer))

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

    def knows_all(self, connections):
        """Whether it has one for each of these (address, port) of clients, at the control port."""
        lines = self.host.run(["ipvsadm", "-Lcn"]).stdout.splitlines()
        known = {words[3] for words in map(str.split, lines) if len(words) > 5 and words[4] == f"{VIP}:21"}
        return known >= {f"{address}:{port}" for address, port in connections}

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


def replaced(path, changes):
    text = path.read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


class UnderWay:
    """A transfer of a big file, whose client has stopped for the moment."""

    def __init__(self, session, mode="EPSV"):
        self.session, self.moved = session, 0
        # IPVS tells the other director of a connection when it has a packet, at most once a minute.
        session.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        session.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
        session.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        opening = session.announce(mode) if mode in ACTIVE else None
        if opening is None:
            self.data = socket.socket()
            # Little room, so that most of the file is still to come.
            self.data.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            self.data.connect((VIP, int(session.sendcmd("EPSV").split("|")[3])))
        else:
            opening.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        assert session.sendcmd(self.command()).startswith("1")
        if opening is not None:
            self.data = opening()
            opening.listener.close()
        self.data.settimeout(60)
        self.move()

    def part(self):
        """Some more of the file."""
        end = self.moved + (1 << 20)
        while self.moved < end:
            self.move()

    def rest(self):
        while self.moved < BIG and self.move():
            pass
        self.data.close()
        assert self.moved == BIG, f"{self.moved} bytes"
        self.session.voidresp()


class Download(UnderWay):
    def command(self):
        return "RETR big.bin"

    def move(self):
        got = len(self.data.recv(1 << 16))
        self.moved += got
        return got


class Upload(UnderWay):
    def command(self):
        return f"STOR upload/{id(self)}"

    def move(self):
        some = bytes(1 << 16)
        self.data.sendall(some)
        self.moved += len(some)
        return len(some)
