"""Several directors at once behind a router that spreads connections over them: the files of deploy/ecmp, with BIRD."""

import collections
import contextlib
import fcntl
import ftplib
import json
import re
import socket
import struct
import tempfile
import termios
from pathlib import Path

from daemon import ftpdirector
from ftpload import Load
from hosts import poll
from selection import long
from topology import VIP, Topology

EXAMPLE, SERVERS = Path("/repo/deploy/ecmp"), Path("/repo/examples/SERVERS.md")
DATA, UNEXPECTED = "ftpdirector_data_connections_total", "ftpdirector_unexpected_data_total"
# What the router's hash takes into account (fib_multipath_hash_policy).
ADDRESSES, PORTS = 0, 1
SOURCES = [f"10.1.0.{100 + n}" for n in range(32)]
# So long a director that comes back hears of connections, in seconds: those that say something are told of every 10 s.
HEARS = 15
ACTIVE = 2021


@long
def test_dr_three_directors():
    with ecmp(PORTS) as group:
        with group.load(sessions=12) as load:
            group.dies_in_mid_load(load)
        group.tell("one dies", load)
        assert load.lost == 0 and load.report.misdirected == 0, load
        left = group.left[1]
        told = ftpdirector(left.host, "doctor", "--json", "--config", left.daemon.config).stdout
        found = [finding for finding in map(json.loads, told.splitlines()) if finding["check"].startswith("sync")]
        assert len(found) == 3 and all(finding["severity"] == "good" for finding in found), found


@long
def test_dr_ports_a_director_dies_and_comes_back():
    dies_and_comes_back("dr", PORTS, passes=5)


@long
def test_dr_addresses_a_director_dies_and_comes_back():
    dies_and_comes_back("dr", ADDRESSES)


@long
def test_tun_ports_a_director_dies_and_comes_back():
    dies_and_comes_back("tun", PORTS)


def dies_and_comes_back(forwarding, policy, passes=1):
    """No control connection is lost and nothing goes to a wrong server; what fails is counted."""
    with ecmp(policy, forwarding) as group:
        for number in range(passes):
            with group.load(sessions=48) as load:
                gone = group.dies_in_mid_load(load, number)
                group.returns(gone, load)
            group.tell(f"one dies and comes back, pass {number + 1}", load)
            assert load.lost == 0 and load.report.misdirected == 0, load
            # A change of the ways may break the transfer that a session is at, and no other.
            assert load.failed <= 2 * 48, load


@long
def test_dr_a_director_is_drained():
    """Taken out of service with one command, stopped, started and put back."""
    with ecmp(PORTS) as group:
        with group.load(sessions=48) as load:
            director = group.left[0]
            director.is_drained()
            group.await_ways(2)
            goes_on(load)
            assert director.daemon.term() == 0
            director.dies()
            goes_on(load)
            group.returns(director, load)
        group.tell("one is drained and put back", load)
        assert load.lost == 0 and load.report.misdirected == 0, load
        assert load.failed <= 2 * 48, load


@long
def test_dr_servers_without_a_setting_for_their_port():
    """Their kernel gives them a port of their own, as SERVERS.md says."""
    block = SERVERS.read_text().split("nft add table ip ftp-data", 1)[1].split("```")[0]
    with ecmp(PORTS, kinds=("proftpd", "pureftpd", "pyftpdlib")) as group:
        for server in group.net.servers:
            words = replaced(f"nft add table ip ftp-data{block}", {"192.0.2.10": VIP, ":2021": f":{server.active_port}"})
            server.run(["sh", "-ec", words])
        with group.load(sessions=12) as load:
            goes_on(load)
        group.tell("ports that the servers' kernels give", load)
        assert load.failed == load.lost == load.report.misdirected == 0, load


class Steadfast(Load):
    """Goes on with a session whose transfer has failed, if its server answers; counts those whose control connection is gone."""

    lost = stuck = 0

    def __init__(self, *arguments, **options):
        # The clients' ends of the control connections.
        self.ends = set()
        super().__init__(*arguments, **options)

    def _open(self, number):
        session = super()._open(number)
        self.ends.add(session.sock.getsockname())
        return session

    def _after(self, session, error):
        # Python reads no more from what has timed out once.
        session.file = session.sock.makefile("r", encoding=session.encoding)
        try:
            session.putcmd("NOOP")
            # What the server's kernel has acknowledged has got through, though the server may hear it later: it may be waiting
            # for the end of the transfer that broke.
            poll(lambda: unacknowledged(session.sock) == 0, what="an acknowledgement")
            session.sock.settimeout(5)
            while not answer(session).startswith("200"):
                pass
            session.sock.settimeout(self.timeout)
            return session
        except TimeoutError:
            self.stuck += 1
        except (OSError, EOFError, AssertionError) as gone:
            self.lost += 1
            self.report.errors.append(f"session {session.sock.getsockname()} after {error}: {gone}")
        session.close()
        return None

    @property
    def failed(self):
        return sum(transfer.error is not None for transfer in self.report.transfers)

    def __str__(self):
        errors = collections.Counter(f"{t.mode}: {t.error}" for t in self.report.transfers if t.error is not None)
        return (f"{self.report.total} transfers, {self.report.misdirected} wrong, {self.failed} failed {dict(errors) or ''}, "
                f"{self.stuck} servers busy with the failed one, {self.lost} control connections lost {self.report.errors or ''}")


def unacknowledged(sock):
    """Bytes that were sent, and that the other end has not acknowledged."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4))[0]


def answer(session):
    """The next reply, whatever it says."""
    try:
        return session.getresp()
    except ftplib.Error as error:
        return str(error)


def goes_on(load, transfers=5):
    """Each session has made so many more transfers, on average."""
    target = load.report.total + transfers * len(load.threads)
    poll(lambda: load.report.total >= target, deadline=240, what=lambda: f"more transfers: {load}")


@contextlib.contextmanager
def ecmp(policy, forwarding="dr", kinds=("vsftpd",)):
    """The router, and three directors that it knows the VIP from."""
    net = Topology(forwarding, ecmp=True, kinds=kinds)
    for number, server in enumerate(net.servers):
        server.active_port = ACTIVE + number
    with net:
        net.client1.ip(*(f"address add {source}/24 dev eth0" for source in SOURCES))
        net.router.sysctl(ipv4__fib_multipath_hash_policy=policy)
        group = Group(net)
        group.await_ways(3)
        yield group


class Group:
    """Directors of one file."""

    def __init__(self, net):
        self.net = net
        self.left = [Director(net, host) for host in net.directors]
        changes = {"192.0.2.10": VIP} | {f"10.0.0.2{n}": host.address for n, host in enumerate(net.directors, 1)}
        start_bird(net.router, "router.conf", changes)
        for director in self.left:
            director.starts()

    def ways(self):
        """The directors that the router has a way to the VIP through."""
        listed = json.loads(self.net.router.run(["ip", "-j", "route", "show", f"{VIP}/32"]).stdout)
        return sorted(hop["gateway"] for route in listed for hop in route.get("nexthops", [route]))

    def await_ways(self, count):
        poll(lambda: len(self.ways()) == count, deadline=120, what=lambda: f"{count} ways, not {self.ways()}")

    @contextlib.contextmanager
    def load(self, sessions):
        """Sessions of many addresses that transfer in all modes, each known to every director."""
        with self.net.client1.enter():
            load = Steadfast(VIP, sessions=sessions, rounds=None, sources=SOURCES, timeout=20.0)
        try:
            for director in self.left:
                poll(lambda: len(load.ends & director.sessions()) == sessions, what=f"{sessions} sessions at {director.host.name}")
            goes_on(load)
            yield load
        finally:
            load.stop()

    def dies_in_mid_load(self, load, number=0):
        gone = self.left[number % len(self.left)]
        gone.dies()
        self.await_ways(2)
        goes_on(load)
        return gone

    def returns(self, director, load):
        director.starts(HEARS)
        self.await_ways(3)
        goes_on(load)

    def tell(self, what, load):
        """The figures, for whoever reads the test's output."""
        metrics = [director.daemon.metrics() for director in self.left if director.daemon.process.poll() is None]
        unexpected = sum(each.sum(UNEXPECTED) for each in metrics)
        print(f"# {what}: {load}; {unexpected:.0f} data connections at another director than their control connection")
        assert unexpected > 0 or self.net.router.run(["sysctl", "-n", "net.ipv4.fib_multipath_hash_policy"]).stdout == "0\n"
        assert sum(each.sum(DATA, result="misdirected") for each in metrics) == 0


class Director:
    """One of them: ftpdirector, BIRD, and what announces the VIP."""

    def __init__(self, net, host):
        self.net, self.host = net, host
        self.files = Path(tempfile.mkdtemp())
        host.sysctl_file(EXAMPLE / "sysctl.conf")
        config = net.config(["vip_interface: lo", "unexpected_data: pass"])
        for number, server in enumerate(net.servers, 1):
            config = config.replace(f"name: {server.name},", f"name: {server.name}, mark: {number},")
        # They share the guest's files, so not the socket.
        self.config = config + f"admin: {{socket: /run/ftpdirector/{host.name}.sock}}\n"

    def starts(self, hears=0):
        """As when the power comes back."""
        self.host.ip("link set eth0 up", "route replace default via 10.0.0.1")
        for command in commands("ftpdirector-sync.service", "ExecStart"):
            self.host.run(command.replace("eth1", "eth0").split())
        self.daemon = self.net.start_daemon(self.config, director=self.host).wait_ready()
        self.bird, self.socket = start_bird(self.host, "bird.conf", {"192.0.2.10": VIP})
        script = self.files / "announce"
        text = EXAMPLE.joinpath("announce").read_text()
        changes = {"sleep 60\n": f"sleep {hears}\n", "birdc ": f"birdc -s {self.socket} "}
        script.write_text(replaced(text, changes))
        self.announce = self.host.popen(["sh", script])

    def sessions(self):
        """The clients' ends of the control connections that the kernel knows."""
        with self.host.enter():
            lines = Path("/proc/thread-self/net/ip_vs_conn").read_text().splitlines()[1:]
        established = [words for words in map(str.split, lines) if words[4] == "0015" and words[7] == "ESTABLISHED"]
        return {(socket.inet_ntoa(bytes.fromhex(words[1])), int(words[2], 16)) for words in established}

    def is_drained(self):
        """`systemctl stop ftpdirector-announce`."""
        self.announce.terminate()
        self.announce.wait()
        for command in commands("ftpdirector-announce.service", "ExecStopPost"):
            self.host.run(command.replace("birdc ", f"birdc -s {self.socket} ").split())

    def dies(self):
        """As without power: from one moment to the next it says nothing any more, and forgets everything."""
        self.host.ip("link set eth0 down")
        for process in (self.announce, self.bird, self.daemon.process):
            process.kill()
            process.wait()
        for words in ("ipvsadm -C", "ipvsadm --stop-daemon master", "ipvsadm --stop-daemon backup",
                      "nft delete table inet ftpdirector", f"ip address delete {VIP}/32 dev lo"):
            self.host.run(words.split())


def commands(unit, key):
    """The commands of a unit."""
    found = re.findall(rf"^{key}=-?(.*)$", EXAMPLE.joinpath(unit).read_text(), re.MULTILINE)
    assert found, f"no {key} in {unit}"
    return found


def start_bird(host, name, changes):
    """BIRD with a file of the example, with the lab's addresses. Returns it with its control socket."""
    files = Path(tempfile.mkdtemp())
    # Nobody waits for the caution of a network that others live in; and an emulated machine may be deaf for seconds.
    changes = changes | {
        "error wait time 5, 30;": "error wait time 1, 2; connect delay time 1;",
        "interval 300 ms;\n        multiplier 3;": "interval 500 ms;\n        multiplier 12;",
        "log syslog all": "log stderr all",
    }
    files.joinpath("conf").write_text(replaced(EXAMPLE.joinpath(name).read_text(), changes))
    with open(files / "log", "w") as log:
        command = ["bird", "-f", "-c", files / "conf", "-s", files / "socket", "-P", files / "pid"]
        return host.popen(command, stdout=log, stderr=log), files / "socket"


def replaced(text, changes):
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text
