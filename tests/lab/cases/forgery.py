"""What is forged, torn or damaged changes nothing: only its own client's segments end or open what is a session's."""

import ftplib
import socket

from ftpload import Session
from hosts import poll
from lenient import lenient
from rawtcp import ACK, FIN, PSH, RST, SYN, ends, fragments, next_segment, numbers, segment, send
from realserver import TLS, make_certificate
from rows import connections, rows
from selection import long
from topology import Topology

# Far from every number that the connection is at.
ASTRAY = 0x7000_0000
WAITS = "pinhole_timeout: 1m"


def settled(session):
    """Every row that an earlier packet asked for is there, or gone: rows of one kind are written in order."""
    session.announce("PORT").listener.close()


def stranger(net, sock, flags, payload=b"", astray=ASTRAY):
    """A packet from client2 in the name of client1's connection, with a guess for its sequence number."""
    seq, ack = numbers(sock)
    send(net.client2, segment(*ends(sock), flags, seq + astray, ack + astray, payload))


def test_dr_a_forged_byte_ends_nothing():
    a_forged_byte_ends_nothing("dr", "PORT", "active4")


def test_nat_a_forged_byte_ends_nothing():
    a_forged_byte_ends_nothing("nat", "PORT", "active_nat4")


def test_nat_a_forged_byte_takes_no_passive_row():
    a_forged_byte_ends_nothing("nat", "PASV", "exact4")


def a_forged_byte_ends_nothing(forwarding, mode, name):
    with Topology(forwarding, servers=2, ranges="shared" if mode == "PASV" else "disjoint") as net:
        net.start_daemon(net.config([WAITS])).wait_ready()
        with net.client1.enter():
            session, other = Session(net.vip), Session(net.vip)
            opening = session.announce(mode)
            (row,) = rows(net, name)
            for flags, payload in ((PSH | ACK, b"x"), (PSH | ACK, b"QUIT\r\n"), (FIN | ACK, b""), (RST, b""), (SYN, b"")):
                for astray in (ASTRAY, 1 << 20):
                    stranger(net, session.sock, flags, payload, astray)
                    settled(other)
                    assert row in rows(net, name), f"flags {flags:#x}, payload {payload}, {astray:#x} astray"
            assert session.fetch(opening).decode().strip() == session.server


def test_dr_a_forged_end_of_a_tls_session():
    """Its pinholes stay, and it goes on."""
    make_certificate()
    with Topology("dr", servers=1, vsftpd=TLS) as net:
        net.start_daemon().wait_ready()
        with net.client1.enter():
            session, other = Session(net.vip, timeout=60.0, tls=True), Session(net.vip)
            own = str(ends(session.sock)[0][1])

            def pinholes():
                return sorted(rows(net, "open4")), [key for key in rows(net, "blind4") if own in key]

            before = pinholes()
            assert all(before), before
            for flags in (RST, RST | ACK, FIN | ACK):
                stranger(net, session.sock, flags)
                settled(other)
                assert pinholes() == before, f"flags {flags:#x}: {pinholes()}, not {before}"
            assert session.fetch(session.announce("EPSV")).decode().strip() == session.server
            # The true end is one.
            session.close()
        poll(lambda: own not in str(rows(net, "blind4")), what="the end of its row")


def test_dr_a_damaged_segment_opens_nothing():
    """The server will not believe it, so nobody should."""
    with Topology("dr", servers=1) as net:
        net.start_daemon().wait_ready()
        with net.client1.enter():
            session = Session(net.vip)
            own = net.client1.address.replace(".", ",")
            for line, name in ((b"EPSV\r\n", "open4"), (f"PORT {own},200,10\r\n".encode(), "active4")):
                send(net.client1, next_segment(session.sock, line, damaged=True))
                session.voidcmd("NOOP")
                assert not rows(net, name), (line, rows(net, name))
            assert session.fetch(session.announce("EPSV")).decode().strip() == session.server


def test_dr_a_command_in_fragments():
    """No TCP sends a control packet so: it does not get through, and the session is where it was."""
    with Topology("dr", servers=1) as net, lenient(net.servers[0]):
        daemon = net.start_daemon(net.config(["health_check: {kind: none}"])).wait_ready()
        with net.client1.enter():
            session = Session(net.vip)
            third = net.client2.address.replace(".", ",")
            for first in (8, 24):
                packet = next_segment(session.sock, f"PORT {third},195,80\r\n".encode())
                send(net.client1, *fragments(packet, first))
                try:
                    # Of the same sequence numbers: a server that has had the PORT takes it for a repetition.
                    session.voidcmd("NOOP")
                except OSError as error:
                    raise AssertionError(f"the server has had the PORT in fragments of {first} bytes: {error}")
            try:
                raise AssertionError(session.sendcmd("LIST"))
            except ftplib.error_temp as error:
                assert str(error).startswith("425 Use PORT"), error
        assert daemon.metrics().sum("ftpdirector_fragments_dropped_total") >= 2, daemon.metrics()


def test_dr_data_in_a_syn():
    data_in_a_syn("dr")


def test_nat_data_in_a_syn():
    data_in_a_syn("nat")


def data_in_a_syn(forwarding):
    """Nobody reads it, so it does not get through (TCP Fast Open). TCP sends the SYN again without, and the session is like any."""
    with Topology(forwarding, servers=1) as net:
        daemon = net.start_daemon().wait_ready()
        nobody = (net.client2.address, 50000)
        send(net.client2, segment(nobody, (net.vip, 21), SYN, payload=b"PASV\r\n"))
        poll(lambda: daemon.metrics().sum("ftpdirector_unparsed_total", reason="syn_data") == 1, what="its count")
        assert (nobody[1], 21) not in connections(net)
        # A client without a cookie (ip-sysctl: 0x4) that has something to say at once.
        net.client1.sysctl(ipv4__tcp_fastopen=5)
        with net.client1.enter(), socket.socket() as control:
            control.settimeout(20)
            control.sendto(b"USER anonymous\r\n", socket.MSG_FASTOPEN, (net.vip, 21))
            lines = control.makefile("r", newline="\r\n", encoding="latin-1")
            greeting = lines.readline()
            assert greeting.startswith("220"), greeting
            answer = lines.readline()
            assert answer.startswith("230"), (greeting, answer)
        assert daemon.metrics().sum("ftpdirector_unparsed_total", reason="syn_data") == 2, "the client's SYN had no data"
        assert daemon.metrics().sum("ftpdirector_commands_total", verb="USER") == 1, daemon.metrics()


GARBAGE = bytes(range(1, 10)) + bytes(range(128, 255)) + b"\r\n"
# What comes before the PORT, each a segment.
PREFIXES = {
    "nothing": [],
    "257 empty lines": [b"\n" * 257],
    "1,400 empty lines": [b"\n" * 1400],
    "a byte that is no text": [b"\x01\r\n"],
    "garbage": [GARBAGE],
    "garbage twice": [GARBAGE, GARBAGE],
    "an overlong line": [b"A" * 5000 + b"\r\n"],
    "an overlong line in pieces": [b"A" * 1000] * 5 + [b"\r\n"],
    "an overlong command": [b"PORT " + b"1" * 5000 + b"\r\n"],
}


@long
def test_dr_no_bounce():
    no_bounce("dr")


@long
def test_nat_no_bounce():
    no_bounce("nat")


def test_ipv6_tun_no_bounce():
    no_bounce("tun", ipv6=True)


def no_bounce(forwarding, ipv6=False):
    """The server is never told to call a third party, whatever is said before and however it is cut."""
    with Topology(forwarding, servers=1) as net, lenient(net.servers[0]):
        net.start_daemon(net.config(["health_check: {kind: none}"], ipv6=ipv6)).wait_ready()
        vip, third = (net.vip6, net.client2.address6) if ipv6 else (net.vip, net.client2.address)
        watch(net.servers[0])
        for what, command in third_parties(third).items():
            for before, prefix in PREFIXES.items():
                for how, pieces in ways(prefix, command).items():
                    words = f"{what} behind {before}, {how}"
                    with net.client1.enter(), socket.create_connection((vip, 21), timeout=20) as control:
                        answer = bounce(control, pieces)
                    assert not calls(net.servers[0]), f"{words}: the server called the third party"
                    assert answer.startswith("425"), f"{words}: {answer}"


def third_parties(third):
    """Ways to name a third party's port 50000 to a server that believes everything."""
    if ":" in third:
        return {"EPRT": f"EPRT |2|{third}|50000|\r\n".encode()}
    numbers = [*third.split("."), "195", "80"]
    wrapped = [str(int(number) + 256) for number in numbers]
    return {
        "PORT": f"PORT {','.join(numbers)}\r\n".encode(),
        "EPRT": f"EPRT |1|{third}|50000|\r\n".encode(),
        "a PORT of numbers that wrap": f"PORT {','.join(wrapped)}\r\n".encode(),
    }


def ways(prefix, command):
    """What is sent, segment by segment."""
    return {
        "in a segment of its own": [*prefix, command],
        "in the same segment": [*prefix[:-1], b"".join(prefix[-1:]) + command],
        "behind another line": [*prefix, b"X\r\n" + command],
        "cut": [*prefix, command[:7], command[7:]],
        "cut behind another line": [*prefix, b"X\r\n" + command[:2], command[2:]],
    }


def bounce(control, pieces):
    """Logs in, sends these segments and asks for a listing; returns what the server answers to that."""
    control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = control.makefile("r", newline="\r\n", encoding="latin-1")
    lines.readline()
    control.sendall(b"USER anonymous\r\n")
    lines.readline()
    for piece in (*pieces, b"LIST\r\n"):
        control.sendall(piece)
    last = ""
    while (line := lines.readline())[:3] not in ("150", "425"):
        assert line, f"the server has closed the connection after {last!r}"
        last = line
    return line


def watch(server):
    """Counts the calls to the third party, and ends them there: they would not get far, but they are made."""
    server.nft("""
        table inet watch {
          counter calls {}
          chain output { type filter hook output priority 0
            tcp dport 50000 counter name calls reject with tcp reset
          }
        }""")


def calls(server):
    listing = server.run(["nft", "list", "counter", "inet", "watch", "calls"]).stdout
    return int(listing.split("packets ")[1].split()[0])
