"""One address sends as much as it can: the others work on, and the daemon stays as small as it was.

What a flood costs the others by itself, in the same virtual machine, is measured with plain IPVS: persistence keeps a client's
control and data connections together there, and nobody reads anything.
"""

import socket
import time
from dataclasses import dataclass
from statistics import median

from flooder import Flood, stream, syns, tls_connections
from ftpload import Load, Session, load
from hosts import poll
from peers import recipe
from rawtcp import ACK, PSH, SYN, ends, numbers, segment, send, with_option
from rows import resident, rows
from selection import long
from topology import Topology

DATA = "ftpdirector_data_connections_total"
LIMITED = "ftpdirector_limited_total"
LOGGED = "ftpdirector_landings_logged_total"
READ = "ftpdirector_verdict_seconds_count"
SESSIONS = "ftpdirector_sessions"
# The others: so many clients of an address each, so many seconds from one transfer to the next.
OTHERS, THINK = 10, 0.5
# Seconds: what a rate is measured over, what the queues take to fill, the time a flood of our own takes, and that of plain IPVS.
WINDOW, SETTLE, MINUTE, SHORT = 8, 4, 60, 12
MEGABYTES = 1 << 20
# MB: the 10,000 sessions that one address may have (`limits.client_sessions`), each with what it opened under TLS.
SESSIONS = 16


def test_dr_others_work_on_in_a_flood():
    """A short look at what the long tests measure."""
    with Topology("dr") as net:
        daemon = net.start_daemon().wait_ready()
        packets, advance, _kept = commands(net)
        flood = Flood(net.client2, packets, WINDOW, advance=advance)
        report = load(net.client1, net.vip, sessions=4, rounds=1)
        poll(lambda: flood.over(within=1), what="the end of the flood")
        print(f"# {flood.rate:.0f} segments a second, {daemon.metrics().sum(LIMITED, limit='connection_packets'):.0f} dropped")
        assert report.right == report.total == 16, report
        assert daemon.metrics().sum(LIMITED, limit="connection_packets") > 0, daemon.metrics()


@long
def test_dr_segments_full_of_commands():
    flooded("dr", "RETR × 241 a segment", commands)


@long
def test_nat_segments_full_of_commands():
    flooded("nat", "RETR × 241 a segment", commands)


@long
def test_dr_one_byte_segments():
    flooded("dr", "one-byte segments", bytewise)


@long
def test_nat_one_byte_segments():
    flooded("nat", "one-byte segments", bytewise)


@long
def test_dr_syns_through_a_pinhole():
    flooded("dr", "SYNs through a pinhole", pinhole)


@long
def test_nat_syns_through_a_pinhole():
    flooded("nat", "SYNs through a pinhole", pinhole)


@long
def test_dr_connections_of_one_tls_byte():
    flooded("dr", "connections of one TLS byte", handshakes, most=SESSIONS)


@long
def test_nat_connections_of_one_tls_byte():
    flooded("nat", "connections of one TLS byte", handshakes, most=SESSIONS)


# What a flood is made of: its packets, by how much their sequence numbers move on in each round, and who must stay.


def commands(net):
    """One connection without a login; each segment is as full of transfers as it can be."""
    control = connection(net)
    return *stream(control, b"RETR\r\n" * 241), control


def bytewise(net):
    control = connection(net)
    return *stream(control, b"R"), control


def pinhole(net):
    """A client who has logged in and may connect to one port, does so from every port of his."""
    with net.client2.enter():
        session = Session(net.vip)
        port = int(session.sendcmd("EPSV").split("|")[3])
    return syns(net.client2.address, (net.vip, port)), 0, session


def handshakes(net):
    """In each round new connections of the same ports."""
    return list(tls_connections(net.client2.address, (net.vip, 21))), 1 << 24, None


def connection(net):
    with net.client2.enter():
        control = socket.create_connection((net.vip, 21), timeout=20)
        assert control.recv(100).startswith(b"220")
    return control


def flooded(forwarding, what, flood, most=10):
    """The others' rate with us before, in and after a flood, and with plain IPVS in the same; it takes `most` MB at most."""
    with Topology(forwarding) as net:
        recipe(net)
        packets, advance, _kept = flood(net)
        running = others(net)
        (plain,), pace = rates_in_a_flood(net, running, SHORT, packets, advance)
        running.stop()
    with Topology(forwarding) as net:
        # A pinhole stays open for as long as the flood goes through it.
        daemon = net.start_daemon(net.config(["pinhole_timeout: 5m"])).wait_ready()
        first = resident(daemon)
        # The same flood: what we drop costs who sends it less than what IPVS passes on, and so it would be a greater one.
        ours, report = rates(net, flood, MINUTE, pace)
        grown = (resident(daemon) - first) / MEGABYTES
        limited = daemon.metrics().sum(LIMITED)
    print(f"# {forwarding}, {what}, transfers a second of {OTHERS} others: {ours}, memory {grown:+.1f} MB, {limited:.0f} dropped")
    print(f"# {forwarding}, {what}, plain IPVS: {plain:.1f} during {pace:.0f} packets a second", flush=True)
    assert report.right == report.total, report
    assert ours.during >= 0.8 * plain, "the others are slower than with plain IPVS"
    assert ours.worst >= 0.5 * plain, "the others stood still for a while"
    assert ours.after >= 0.9 * ours.before, "the others are not back at their rate"
    assert grown < most, "the daemon has grown"


@dataclass
class Rates:
    """Right transfers a second of the others; packets a second of the flood."""

    before: float
    during: float
    worst: float
    after: float
    flood: float

    def __str__(self):
        during = f"{self.during:.1f} during ({self.worst:.1f} at the worst)"
        return f"{self.before:.1f} before, {during}, {self.after:.1f} after {self.flood:.0f} packets a second"


def rates(net, flood, seconds, pace):
    """Runs a flood for so many seconds, of so many packets a second, beside the others. Returns their rates and what else they
    saw."""
    packets, advance, _kept = flood(net)
    running = others(net)
    before = rate(running)
    during, sent = rates_in_a_flood(net, running, seconds, packets, advance, int(pace))
    passed(1)
    after = rate(running)
    return Rates(before, median(during), min(during), after, sent), running.stop()


def others(net):
    """Transfers of clients with an address each, on and on."""
    sources = [f"10.1.0.{100 + n}" for n in range(OTHERS)]
    net.client1.ip(*(f"address add {source}/24 dev eth0" for source in sources))
    with net.client1.enter():
        # Nobody but EPSV works with plain IPVS in NAT.
        running = Load(net.vip, sessions=OTHERS, rounds=None, modes=("EPSV",), think=THINK, sources=sources)
    poll(lambda: running.report.total >= 2 * OTHERS, what="two transfers of each")
    return running


def rates_in_a_flood(net, running, seconds, packets, advance, pace=0):
    """The rates in the last windows of so many seconds of a flood, and that of the flood."""
    flooding = Flood(net.client2, packets, seconds, pace=pace, advance=advance)
    # Several, because a machine that is busy with something else for a moment is none of ours.
    windows = min(3, (seconds - SETTLE) // WINDOW)
    passed(seconds - windows * WINDOW)
    during = [rate(running) for _ in range(windows)]
    poll(lambda: flooding.over(within=1), what="the end of the flood")
    return during, flooding.rate


def rate(running):
    """Right transfers a second, from now on."""
    first = len(running.report.transfers)
    passed(WINDOW)
    return sum(transfer.right for transfer in running.report.transfers[first:]) / WINDOW


def passed(seconds):
    """A rate is measured over time: the one thing here that waits for nothing else."""
    end = time.monotonic() + seconds
    poll(lambda: time.monotonic() > end, deadline=seconds + 60, what=f"{seconds} seconds")


@long
def test_dr_memory_of_sessions_that_wait():
    """Passive commands by the hundred a segment, beside a session that always has one to wait for."""
    with Topology("dr", servers=1) as net:
        daemon = net.start_daemon().wait_ready()
        with net.client1.enter():
            holder = Session(net.vip)
            holder.announce("EPSV")
        control = connection(net)
        packets, advance = stream(control, b"PASV\r\n" * 240)
        first = resident(daemon)
        flood = Flood(net.client2, packets, MINUTE, pace=1200, advance=advance)
        while not flood.over(within=2):
            holder.sock.sendall(b"LIST\r\n")
        grown = (resident(daemon) - first) / MEGABYTES
        print(f"# {flood.sent} segments of PASV × 240: memory {grown:+.1f} MB", flush=True)
        assert grown < 10, "the daemon has grown"


@long
def test_dr_forged_tls_connections_hold_nothing():
    """A SYN and the beginning of a TLS record, each from an address that is nobody's: gone as soon as IPVS forgets them."""
    with Topology("dr", servers=1) as net:
        daemon = net.start_daemon(net.config() + "kernel:\n  timeouts: {tcp: 15s, tcp_fin: 10s, udp: 10s}\n").wait_ready()
        for n in range(50):
            nobody, target = (f"10.9.0.{n + 1}", 4000), (net.vip, 21)
            record = segment(nobody, target, PSH | ACK, seq=1001, payload=b"\x16\x03")
            send(net.client2, segment(nobody, target, SYN), record)
        with net.client1.enter():
            # Its command has been read, and so has what came before it.
            Session(net.vip).close()

        def held():
            return [key for name in ("open4", "blind4") for key in rows(net, name) if "10.9.0." in key[0]]

        def sessions():
            return daemon.metrics().sum(SESSIONS)

        poll(lambda: not held() and sessions() == 0, what=lambda: f"their end: {len(held())} rows, {sessions():g} sessions")


def test_tun_options_make_no_new_bucket():
    """Of one connection, each with another IP option where the ports would stand: one bucket is empty soon."""
    with Topology("tun", servers=1) as net:
        daemon = net.start_daemon(net.config() + "limits: {connection_packets: 50, client_packets: 5000}\n").wait_ready()
        control = connection(net)
        (packet, *_), _ = stream(control, b"R")
        packets = [with_option(packet, bytes([0x5E, 8]) + n.to_bytes(2, "big") + bytes(4)) for n in range(1000)]
        flood = Flood(net.client2, packets, 0, pace=2000)
        poll(lambda: flood.over(within=1), what="the end of the flood")
        poll(lambda: daemon.metrics().sum(LIMITED, limit="connection_packets") > 500, what=lambda: f"500 dropped: {daemon.metrics()}")


@long
def test_dr_full_buckets_stop_nobody():
    """Somebody has filled both sets of a client's buckets: who is not in them works on, and it shows."""
    with Topology("dr", servers=1) as net:
        daemon = net.start_daemon().wait_ready()
        for name, more in (("client_packets4", ""), ("client_connections4", f" . {net.vip} . 21")):
            size = int(net.director.run(["nft", "list", "set", "inet", "ftpdirector", name]).stdout.split("size ")[1].split()[0])
            addresses = (f"11.{n >> 16}.{n >> 8 & 255}.{n & 255}{more} timeout 10m" for n in range(size))
            net.director.nft(f"add element inet ftpdirector {name} {{ {', '.join(addresses)} }}\n")
        report = load(net.client1, net.vip, sessions=2, rounds=1)
        assert report.right == report.total == 8, report
        poll(lambda: daemon.metrics().sum(LIMITED, limit="full") >= 4, what=lambda: f"its count: {daemon.metrics()}")
        # The other buckets are there: they are each of another set.
        assert daemon.metrics().sum(LIMITED, limit="connection_packets") == 0


def test_dr_a_forged_flood_spends_the_share_of_one_port():
    """SYNs in another's name, to one VIP: at the other VIP its sessions begin as ever."""
    with Topology("dr", servers=1, vips=2) as net:
        daemon = net.start_daemon(net.config() + "limits: {client_connections: 1}\n").wait_ready()
        flooded, other = net.vips
        flood = Flood(net.client2, syns(net.client1.address, (flooded, 21)), MINUTE, pace=500)
        poll(lambda: daemon.metrics().sum(LIMITED, limit="client_connections") > 1000, what="a spent share")
        with net.client1.enter():
            session = Session(other)
            assert session.fetch(session.announce("EPSV")).decode().strip() == session.server
        assert not flood.over(), "the flood was over before the transfer"
        flood.process.kill()
        flood.process.wait()


def test_dr_landings_are_counted_and_not_told():
    landings_are_counted_and_not_told("dr")


def test_nat_landings_are_counted_and_not_told():
    landings_are_counted_and_not_told("nat")


def landings_are_counted_and_not_told(forwarding):
    """Each SYN that passes a pinhole is counted; the daemon hears of the first of an expectation, and of few more."""
    with Topology(forwarding, servers=1) as net:
        daemon = net.start_daemon(net.config(["pinhole_timeout: 5m"])).wait_ready()
        packets, _, _kept = pinhole(net)
        before = daemon.metrics()
        flood = Flood(net.client2, packets, 0)
        poll(lambda: flood.over(within=1), what="the end of the flood")

        def landed():
            return daemon.metrics().sum(DATA, result="landed") - before.sum(DATA, result="landed")

        poll(lambda: landed() >= len(packets), what=lambda: f"{len(packets)} landed ({landed():g} have)")
        after = daemon.metrics()
        assert any(name == LOGGED for name, _ in after), f"no {LOGGED}"
        told = after.sum(LOGGED) - before.sum(LOGGED)
        print(f"# {forwarding}: {flood.sent} SYNs, {flood.rate:.0f} a second, through one pinhole: {told:.0f} told", flush=True)
        # Ten a second, and fifty more: a slow machine takes its time.
        assert told <= max(len(packets) / 100, 50 + 12 * flood.sent / flood.rate), told


def test_dr_sessions_beyond_the_limit_pass_unread():
    """Of one address; where ranges are disjoint, their passive transfers work all the same."""
    with Topology("dr") as net:
        daemon = net.start_daemon(net.config() + "limits: {client_sessions: 5}\n").wait_ready()
        report = load(net.client1, net.vip, sessions=9, rounds=1, modes=("EPSV", "PASV"))
        assert report.right == report.total == 18, report
        metrics = daemon.metrics()
        assert metrics.sum(LIMITED, limit="client_sessions") >= 4, metrics
        # Others are read.
        report = load(net.client2, net.vip, sessions=3, rounds=1)
        assert report.right == report.total == 12, report


@long
def test_dr_two_hundred_busy_sessions_of_one_address():
    two_hundred_busy_sessions_of_one_address("dr")


@long
def test_nat_two_hundred_busy_sessions_of_one_address():
    two_hundred_busy_sessions_of_one_address("nat")


# Five transfers a second, of three commands each.
BUSY, COMMANDS = 200, 15


def two_hundred_busy_sessions_of_one_address(forwarding):
    """The limits at their defaults drop nothing: not of transfers, as many as this machine can do, nor of as many control
    packets as those of five transfers a second and session."""
    with Topology(forwarding) as net:
        daemon = net.start_daemon().wait_ready()
        began = time.monotonic()
        report = load(net.client1, net.vip, sessions=BUSY, rounds=1, modes=("EPSV", "PORT"), timeout=120.0)
        took = time.monotonic() - began
        with net.client1.enter():
            sessions = [Session(net.vip, timeout=120.0) for _ in range(BUSY)]
        # The last command of each once more, as TCP itself would repeat it.
        again = [repeated(session) for session in sessions]
        before = daemon.metrics()
        flood = Flood(net.client1, again, 20, pace=BUSY * COMMANDS)
        poll(lambda: flood.over(within=1), what="the end of the commands")

        after = daemon.metrics()
        read, limited = after.sum(READ) - before.sum(READ), after.sum(LIMITED)
        print(f"# {forwarding}, {BUSY} sessions of one address: {report.right / took:.1f} transfers a second, then {flood.rate:.0f}")
        print(f"# commands a second, {read:.0f} of {flood.sent} read so far; {limited:.0f} dropped", flush=True)
        assert report.right == report.total == 2 * BUSY, report
        assert flood.rate >= 0.9 * BUSY * COMMANDS, "this machine is too slow to show it"
        assert any(name == LIMITED for name, _ in after) and limited == 0, after


def repeated(session):
    session.voidcmd("NOOP")
    seq, ack = numbers(session.sock)
    return segment(*ends(session.sock), PSH | ACK, seq - len(b"NOOP\r\n"), ack, b"NOOP\r\n")
