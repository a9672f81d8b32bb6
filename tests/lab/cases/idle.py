"""How long a silent control connection lives in IPVS: as long as its data connection, without one for the cluster's `idle`."""

import ftplib
import threading
import time
from pathlib import Path

from daemon import ftpdirector
from ftpload import MODES, Session, session_at
from hosts import poll
from realserver import BIG, TLS, make_certificate
from selection import long
from topology import Topology

TIMEOUT = 20
# A transfer takes two and a half times as long as IPVS remembers a silent connection (50 s).
SLOW = TLS + f"anon_max_rate={BIG * 2 // (TIMEOUT * 5)}\n"
REFRESHED = "ftpdirector_refreshed_total"


def test_nat():
    """The daemon is killed meanwhile: the next one has never seen these sessions."""
    # Time enough to start again on a busy machine.
    long_transfers("nat", seconds=30, kill=True)


@long
def test_dr():
    """Not our timeout: someone has set it."""
    long_transfers("dr", ours=False)


@long
def test_tun():
    long_transfers("tun")


def long_transfers(forwarding, seconds=TIMEOUT, ours=True, kill=False):
    make_certificate()
    with Topology(forwarding, servers=2, vsftpd=SLOW) as net:
        config = both_families(net) + (timeout(seconds) if ours else "")
        if not ours:
            net.director.run(["ipvsadm", "--set", seconds, 120, 300])
        daemon = net.start_daemon(config).wait_ready()
        # No two of one client at one server: nobody lives by another's data connection.
        with net.client1.enter():
            transfers = [Transfer(net.vip, "rs1", "EPSV"), Transfer(net.vip, "rs2", "EPSV", tls=True)]
            transfers += [Transfer(net.vip6, "rs1", "EPRT")]
            # Beside others, but these have told that they transfer nothing.
            silent = [session_at(net.vip, "rs1"), session_at(net.vip6, "rs1")]
        with net.client2.enter():
            transfers += [Transfer(net.vip, "rs1", "EPRT"), Transfer(net.vip6, "rs1", "EPSV")]
            # Alone, and done.
            silent.append(session_at(net.vip, "rs2"))
            silent[-1].fetch(silent[-1].announce("EPSV"))
        poll(lambda: all(transfer.session.received for transfer in transfers), what="the beginning of every transfer")
        if kill:
            daemon.kill9()
            daemon = net.start_daemon(config).wait_ready()
            # What they told has been forgotten.
            del silent[:2]
        for transfer in transfers:
            transfer.wait()
        remembered = control_ports(net)
        assert not [session for session in silent if port_of(session) in remembered], remembered
        assert daemon.metrics().sum(REFRESHED, cluster="lab") >= len(transfers), daemon.metrics()
        assert "keepalives" not in daemon.log(), daemon.log()


@long
def test_without_the_capability():
    """What would be lost. All else goes on without CAP_NET_RAW."""
    make_certificate()
    with Topology("dr", servers=1, vsftpd=SLOW) as net:
        without = ("setpriv", "--inh-caps=-net_raw", "--bounding-set=-net_raw")
        daemon = net.start_daemon(both_families(net) + timeout(15), without).wait_ready()
        with net.client1.enter():
            transfer = Transfer(net.vip, "rs1", "EPSV")
        poll(lambda: transfer.session.received, what="the beginning of the transfer")
        poll(lambda: port_of(transfer.session) not in control_ports(net), what="the end of the control connection in IPVS")
        assert transfer.thread.is_alive(), transfer.error
        assert daemon.log().count("keepalives") == 1 and "CAP_NET_RAW" in daemon.log(), daemon.log()
        assert daemon.metrics().sum(REFRESHED) == 0


class Transfer:
    """A slow transfer and another command, in a thread of its own."""

    def __init__(self, vip, server, mode, tls=False):
        self.name = f"{vip} {mode}{' TLS' if tls else ''}"
        self.session = session_at(vip, server, tls)
        self.error = None
        self.thread = threading.Thread(target=self._run, args=(mode,), daemon=True)
        self.thread.start()

    def _run(self, mode):
        try:
            # To the 226; then the client speaks again.
            self.session.fetch(self.session.announce(mode), "big.bin")
            self.session.voidcmd("NOOP")
        except (OSError, EOFError, ftplib.Error) as error:
            self.error = error

    def wait(self):
        self.thread.join()
        assert self.error is None, f"{self.name}: {self.error!r} after {self.session.received} bytes"
        assert self.session.received == BIG, f"{self.name}: {self.session.received} bytes"


def both_families(net):
    """One cluster with a VIP and servers of each."""
    config = net.config().replace(f"vips: ['{net.vip}']", f"vips: ['{net.vip}', '{net.vip6}']")
    for server in net.servers:
        low, high = server.passive_ports
        config += f"      - {{name: {server.name}-6, address: '{server.address6}', passive_ports: {low}-{high}}}\n"
    return config


def timeout(seconds):
    return f"kernel:\n  timeouts: {{tcp: {seconds}s, tcp_fin: 120s, udp: 300s}}\n"


def port_of(session):
    return session.sock.getsockname()[1]


def control_ports(net):
    """The clients' ports of the control connections that IPVS remembers."""
    with net.director.enter():
        lines = Path("/proc/thread-self/net/ip_vs_conn").read_text().splitlines()[1:]
    words = [line.split() for line in lines]
    return {int(word[2], 16) for word in words if int(word[4], 16) == 21}


@long
def test_nat_silent_sessions():
    """The daemon is killed before the silence: the next one has never heard these sessions."""
    make_certificate()
    with Topology("nat", servers=2, vsftpd=TLS) as net:
        daemon = net.start_daemon(with_idle(net, "60s")).wait_ready()
        clear, tls, forgotten = silent_sessions(net)
        daemon.kill9()
        daemon = net.start_daemon(with_idle(net, "60s")).wait_ready()
        silence()
        serves(net, clear, MODES)
        serves(net, tls, ("EPSV", "EPRT"))
        is_forgotten_alone(net, forgotten, clear, tls)
        assert daemon.metrics().sum("ftpdirector_limited_total", limit="idle") == 0


@long
def test_dr_silent_sessions():
    """A reload brings `idle`. Another client has more sessions than are kept of one: half of its `client_sessions`."""
    make_certificate()
    with Topology("dr", servers=2, vsftpd=TLS) as net:
        limits = "limits: {client_sessions: 8}\n"
        daemon = net.start_daemon(with_idle(net, "null") + limits).wait_ready()
        clear, tls, forgotten = silent_sessions(net)
        with net.client2.enter():
            many = [Session(net.vip, timeout=60) for _ in range(7)]
        daemon.config.write_text(with_idle(net, "60s") + limits)
        done = ftpdirector(net.director, "reload", "--config", daemon.config)
        assert done.returncode == 0, done.stderr
        silence()
        assert len({port_of(session) for session in many} & control_ports(net)) == 4, control_ports(net)
        serves(net, clear, MODES)
        serves(net, tls, ("EPSV", "PASV"))
        is_forgotten_alone(net, forgotten, clear, tls)
        metrics = daemon.metrics()
        assert metrics.sum(REFRESHED, cluster="lab") > 7, metrics
        assert metrics.sum("ftpdirector_limited_total", limit="idle") >= 3, metrics


def with_idle(net, idle):
    """No pinhole outlives the silence but for its session."""
    return net.config([f"idle: {idle}", "pinhole_timeout: 5s"]) + timeout(15)


def silent_sessions(net):
    """Three that have told that they transfer nothing, the second under TLS."""
    with net.client1.enter():
        return session_at(net.vip, "rs1"), session_at(net.vip, "rs2", tls=True), session_at(net.vip, "rs1")


def silence():
    # What they wait for is time: IPVS's timeout, nearly three times.
    time.sleep(40)


def serves(net, session, modes):
    """New data connections of a session, each from its own server."""
    for mode in modes:
        with net.client1.enter():
            content = session.fetch(session.announce(mode)).decode().strip()
        assert content == session.server, f"{mode}: {content}, not {session.server}"
    # What is said within two seconds of a keepalive cannot be told from it. None comes so soon after what was said before.
    time.sleep(2)
    session.voidcmd("NOOP")


def is_forgotten_alone(net, forgotten, *others):
    """It has been silent for longer than `idle`; the others have spoken since."""
    poll(lambda: port_of(forgotten) not in control_ports(net), what="the end of a silent control connection in IPVS")
    left = control_ports(net)
    lost = [session.server for session in others if port_of(session) not in left]
    assert not lost, f"sessions of {lost} have gone too: {left}"


@long
def test_nat_silent_data():
    silent_data("nat")


@long
def test_dr_silent_data():
    silent_data("dr")


def silent_data(forwarding):
    """An upload that pauses for longer than IPVS remembers. The server waits, and so does its client."""
    with Topology(forwarding, servers=2, kinds=("slow",)) as net:
        net.start_daemon(net.config() + timeout(15)).wait_ready()
        uploads = [Upload(net, mode) for mode in ("EPSV", "PORT", "PASV")]
        for upload in uploads:
            upload.thread.join()
        wrong = [f"{upload.mode}: {upload.error!r}" for upload in uploads if upload.error]
        assert not wrong, "\n".join(wrong)


class Upload:
    """An upload with a long pause in it, in a thread of its own."""

    def __init__(self, net, mode):
        self.mode, self.error = mode, None
        with net.client1.enter():
            self.session = Session(net.vip, timeout=60)
        self.thread = threading.Thread(target=self.run, args=(net,), daemon=True)
        self.thread.start()

    def run(self, net):
        try:
            with net.client1.enter(), self.session.data(self.session.announce(self.mode), "STOR x") as data:
                data.sendall(b"a" * 1000)
                # What it waits for is time: IPVS's timeout, nearly three times.
                time.sleep(40)
                data.sendall(b"b" * 1000)
            self.session.voidresp()
        except (OSError, EOFError, ftplib.Error) as error:
            self.error = error
