"""Nobody opens what is not theirs: a data connection reaches a declared port of the server that asked, for the client that asked."""

import contextlib
import ftplib
import re
import socket
import time

from daemon import ftpdirector
from flooder import Flood
from ftpload import Session, load, session_at
from hosts import poll
from lenient import lenient
from rawtcp import ACK, FIN, SYN, fragments, segment, send
from rows import connections, rows
from selection import long
from topology import Topology

DATA = "ftpdirector_data_connections_total"
UNPARSED = "ftpdirector_unparsed_total"
UP = "ftpdirector_server_up"
# Nobody's business: a database of the real server, say, and a service on the port that it calls from.
SECRET, SSH, ACTIVE = 3306, 22, 20
# A client's port.
OWN = 50123


@contextlib.contextmanager
def services(server, *ports):
    """Something listens on these ports of a real server, on every address."""
    with contextlib.ExitStack() as stack, server.enter():
        for port in ports:
            stack.enter_context(socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True))
        yield


def reaches(net, vip, port, source=0):
    """Whether a client's connection to this port of the VIP is answered by anyone."""
    family = socket.AF_INET6 if ":" in vip else socket.AF_INET
    with net.client1.enter(), socket.socket(family) as data:
        data.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        data.settimeout(2)
        data.bind(("::" if ":" in vip else "", source))
        try:
            data.connect((vip, port))
            return True
        except OSError:
            return False


def port_command(address, port):
    if ":" in address:
        return f"EPRT |2|{address}|{port}|"
    return "PORT " + ",".join([*address.split("."), *map(str, divmod(port, 256))])


def says(control, line):
    """The server's one-line answer to a line of somebody who is perhaps not even logged in."""
    control.sendall(line.encode("latin-1") + b"\r\n")
    return control.recv(4096).decode("latin-1")


def test_dr_an_active_row_leads_to_the_active_port():
    an_active_row_leads_to_the_active_port("dr")


def test_tun_an_active_row_leads_to_the_active_port():
    an_active_row_leads_to_the_active_port("tun")


def test_ipv6_dr_an_active_row_leads_to_the_active_port():
    an_active_row_leads_to_the_active_port("dr", ipv6=True)


def an_active_row_leads_to_the_active_port(forwarding, ipv6=False):
    """Without a login: a PORT, a SYN-ACK to whatever port, a connection to it."""
    with Topology(forwarding, servers=1) as net:
        net.start_daemon(net.config(ipv6=ipv6)).wait_ready()
        vip, own = (net.vip6, net.client1.address6) if ipv6 else (net.vip, net.client1.address)
        with net.client1.enter():
            control = socket.create_connection((vip, 21), timeout=20)
            control.recv(100)
        with services(net.servers[0], SECRET, SSH, ACTIVE):
            assert not reaches(net, vip, SECRET, OWN)
            for port in (SECRET, SSH, ACTIVE):
                assert says(control, port_command(own, OWN)).startswith("530")
                send(net.client1, segment((own, OWN), (vip, port), SYN | ACK))
                known = (OWN, port) in connections(net)
                assert port == ACTIVE or not known, f"IPVS takes a connection to port {port}"
                assert not reaches(net, vip, port, OWN), f"the client reached port {port} of the real server"
        with net.client1.enter():
            session = Session(vip)
            assert session.fetch(session.announce("EPRT")).decode().strip() == session.server


def test_dr_active_ports_of_a_server():
    active_ports_of_a_server("dr")


@long
def test_tun_active_ports_of_a_server():
    active_ports_of_a_server("tun")


def active_ports_of_a_server(forwarding):
    """pyftpdlib calls from any port. With a range declared for it active transfers work, and no port beside the range opens."""
    with Topology(forwarding, ranges=[(21000, 21999), (22000, 22999)], servers=2, kinds=["pyftpdlib"]) as net:
        daemon = net.start_daemon().wait_ready()
        report = load(net.client1, net.vip, sessions=6, rounds=1)
        assert report.right == report.total == 24, report
        assert daemon.metrics().sum(DATA, result="misdirected") == 0
        own = net.client1.address
        with net.client1.enter():
            session = session_at(net.vip, "rs1")
        with services(net.servers[0], SECRET):
            # pyftpdlib calls at once, and answers when it has given up: nobody listens.
            session.putcmd(port_command(own, OWN))
            poll(lambda: any(str(OWN) in key for key in rows(net, "active_any4")), what="the row")
            send(net.client1, segment((own, OWN), (net.vip, SECRET), SYN | ACK))
            assert (OWN, SECRET) not in connections(net)
            assert not reaches(net, net.vip, SECRET, OWN)


def test_dr_nobody_calls_where_a_server_calls_from():
    nobody_calls_where_a_server_calls_from(range(60000, 61000))


@long
def test_dr_nobody_calls_after_85000_answers():
    nobody_calls_where_a_server_calls_from(range(32768, 61000))


def nobody_calls_where_a_server_calls_from(calls_from):
    """However often a client has been let in there before: each SYN-ACK has left an entry in IPVS."""
    first = OWN - 3
    with Topology("dr", ranges=[(21000, 21999)], servers=1, kinds=["pyftpdlib"]) as net:
        daemon = net.start_daemon(net.config(["pinhole_timeout: 5m"])).wait_ready()
        done = ftpdirector(net.director, "plan", "--config", daemon.config)
        assert (done.returncode, done.stdout) == (0, ""), done
        own = net.client1.address
        sessions = []
        for port in range(first, OWN + 1):
            with net.client1.enter():
                sessions.append(Session(net.vip))
            sessions[-1].putcmd(port_command(own, port))
            poll(lambda: any(str(port) in key for key in rows(net, "active_any4")), what="the row")
        packets = [segment((own, port), (net.vip, to), SYN | ACK) for port in range(first, OWN) for to in calls_from]
        flood = Flood(net.client1, packets, 0)
        poll(lambda: flood.over(within=1), deadline=240, what="the end of the SYN-ACKs")
        taken = calls_from[-1]
        with services(net.servers[0], taken):
            send(net.client1, segment((own, OWN), (net.vip, taken), SYN | ACK))
            assert (OWN, taken) in connections(net)
            assert not reaches(net, net.vip, taken, OWN), f"the client reached port {taken} of the real server"
        assert daemon.metrics().sum("ftpdirector_unexpected_data_total") > 0, daemon.metrics()
        # Others' active transfers, and its own.
        for client in (net.client1, net.client2):
            with client.enter():
                session = Session(net.vip)
                assert session.fetch(session.announce("PORT")).decode().strip() == session.server


def test_dr_a_syn_that_is_no_syn_to_the_rules():
    """In pieces, or with FIN: the entry that a SYN-ACK left in IPVS must not lead it to what listens there."""
    with Topology("dr", ranges=[(21000, 21999)], servers=1, kinds=["pyftpdlib"]) as net:
        net.start_daemon(net.config(["pinhole_timeout: 5m"])).wait_ready()
        own, taken = net.client1.address, 60123
        with net.client1.enter():
            session = Session(net.vip)
        session.putcmd(port_command(own, OWN))
        poll(lambda: any(str(OWN) in key for key in rows(net, "active_any4")), what="the row")
        with services(net.servers[0], taken):
            send(net.client1, segment((own, OWN), (net.vip, taken), SYN | ACK))
            assert (OWN, taken) in connections(net)
            assert answers(net, 21, [segment((own, OWN), (net.vip, 21), SYN)])
            syn = segment((own, OWN), (net.vip, taken), SYN)
            for what in (fragments(syn), fragments(syn, 16), [segment((own, OWN), (net.vip, taken), SYN | FIN)]):
                assert not answers(net, taken, what), f"{len(what)} packets reached port {taken} of the real server"


def answers(net, port, packets):
    """Whether a SYN-ACK from this port comes for these packets, within two seconds."""
    with net.client1.enter(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.settimeout(0.2)
        send(net.client1, *packets)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                packet = raw.recv(4096)
                tcp = packet[(packet[0] & 15) * 4 :]
                if tcp[:2] == port.to_bytes(2) and tcp[13] & (SYN | ACK) == SYN | ACK:
                    return True
    return False


def test_dr_an_active_port_of_its_own_needs_no_row():
    an_active_port_of_its_own_needs_no_row("dr")


@long
def test_tun_an_active_port_of_its_own_needs_no_row():
    an_active_port_of_its_own_needs_no_row("tun")


@long
def test_ipv6_dr_an_active_port_of_its_own_needs_no_row():
    an_active_port_of_its_own_needs_no_row("dr", ipv6=True)


def an_active_port_of_its_own_needs_no_row(forwarding, ipv6=False):
    """With `unexpected_data: pass` anyone's SYN-ACK gets to the port that one server alone calls from, and opens nothing else."""
    alone, shared = 2021, 2022
    net = Topology(forwarding)
    for server, port in zip(net.servers, (alone, shared, shared)):
        server.active_port = port
    with net:
        daemon = net.start_daemon(net.config(["unexpected_data: pass"], ipv6)).wait_ready()
        vip, own = (net.vip6, net.client1.address6) if ipv6 else (net.vip, net.client1.address)
        with services(net.servers[0], SECRET, alone), services(net.servers[1], SECRET, shared):
            for port in (alone, shared, SECRET, net.servers[0].passive_ports[0]):
                send(net.client1, segment((own, OWN), (vip, port), SYN | ACK))
                known = (OWN, port) in connections(net)
                assert known == (port == alone), f"port {port}: IPVS knows the connection: {known}"
            # From then on IPVS has an entry for these two ends. Nothing that begins a connection may follow it.
            syn = segment((own, OWN), (vip, alone), SYN)
            ways = {"a SYN": [syn], "a SYN with FIN": [segment((own, OWN), (vip, alone), SYN | FIN)]}
            if not ipv6:
                assert answers(net, 21, [segment((own, OWN), (vip, 21), SYN)])
                ways |= {"8 bytes of a SYN": fragments(syn), "16 bytes of a SYN": fragments(syn, 16)}
                for what, packets in ways.items():
                    assert not answers(net, alone, packets), f"{what} and the rest got an answer from port {alone}"
            assert not reaches(net, vip, alone, OWN), f"the client reached port {alone} of the real server"
        unexpected = daemon.metrics().sum("ftpdirector_unexpected_data_total")
        assert unexpected >= 3, unexpected
        # Nobody reads the PORT.
        daemon.kill9()
        for client in (net.client1, net.client2):
            with client.enter():
                session = session_at(vip, "rs1")
                for _ in range(2):
                    assert session.fetch(session.announce("EPRT")).decode().strip() == "rs1"


def test_dr_persistence_opens_no_active_port():
    persistence_opens_no_active_port("dr")


def test_nat_persistence_opens_no_active_port():
    persistence_opens_no_active_port("nat")


def persistence_opens_no_active_port(forwarding):
    """Its mark stands for the active port too, for the client's answer and for nothing else."""
    with Topology(forwarding, servers=1) as net:
        net.start_daemon(net.config(more=["persistence: 5m"])).wait_ready()
        with services(net.servers[0], ACTIVE):
            with net.client1.enter():
                session = Session(net.vip)
            assert not reaches(net, net.vip, ACTIVE), "a SYN reached the port that the server calls from"
        with net.client1.enter():
            assert session.fetch(session.announce("PORT")).decode().strip() == session.server


RANGES = ("disjoint", "shared", "none")


def nat_config(net, ranges, more=()):
    """`none`: no server has declared its range."""
    config = net.config(more)
    return re.sub(r", passive_ports: [\d-]+", "", config) if ranges == "none" else config


def test_nat_a_line_that_looks_like_a_227():
    """pyftpdlib ends a line at CR LF and repeats what it does not know, bare LF and all."""
    for ranges in RANGES:
        with Topology("nat", servers=1, ranges="disjoint" if ranges == "none" else ranges, kinds=["pyftpdlib alone"]) as net:
            net.start_daemon(nat_config(net, ranges)).wait_ready()
            with services(net.servers[0], SECRET), net.client1.enter():
                control = socket.create_connection((net.vip, 21), timeout=20)
                lines = control.makefile("rb")
                lines.readline()
                for text in ("227\t(1,1,1,1,12,234)", "229\t(|||3306|)", "228\t(4,4,10,0,0,11,2,12,234)"):
                    for verb in ("PASV", "EPSV", "LPSV"):
                        control.sendall(f"X\n{text}\r\n{verb}\r\n".encode())
                        while lines.readline()[:4] not in (b"530 ", b"500 "):
                            pass
                        closed(net, (ranges, verb, text))


def closed(net, what):
    """No row for the port that nobody may reach, and no way to it."""
    assert not [key for key in rows(net, "exact4") if str(SECRET) in key], what
    assert not reaches(net, net.vip, SECRET), f"{what}: the client reached port {SECRET} of the real server"


TEXTS = (
    "227 Entering Passive Mode (10,0,0,11,12,234)",
    "228 Entering Long Passive Mode (4,4,10,0,0,11,2,12,234)",
    "229 Entering Extended Passive Mode (|||3306|)",
)


@long
def test_nat_text_that_looks_like_a_227():
    """After a passive command that was refused: what a server says later answers something else."""
    for ranges in RANGES:
        with Topology("nat", servers=1, ranges="disjoint" if ranges == "none" else ranges) as net:
            server = net.servers[0]
            with lenient(server), services(server, SECRET):
                net.start_daemon(nat_config(net, ranges, ["health_check: {kind: none}"])).wait_ready()
                with net.client1.enter():
                    session = Session(net.vip)
                for refused, verb in (("LPSV", "STAT"), ("EPSV", "HELP"), ("EPSV", "STAT")):
                    for text in TEXTS:
                        with contextlib.suppress(ftplib.error_perm):
                            session.sendcmd(refused)
                        session.sendcmd(f"{verb} {text}")
                        closed(net, (ranges, refused, verb, text))


def test_nat_a_refused_pasv_opens_no_pinhole():
    with Topology("nat", servers=1) as net:
        net.start_daemon().wait_ready()
        with net.client1.enter():
            control = socket.create_connection((net.vip, 21), timeout=20)
            control.recv(100)
        for verb in ("PASV", "EPSV"):
            assert says(control, verb).startswith("530")
            assert not rows(net, "open4"), verb
        # The same command opens one after a login.
        with net.client1.enter():
            session = Session(net.vip)
            assert session.fetch(session.announce("EPSV")).decode().strip() == session.server


def wrong_range(net, more=()):
    """rs1 is declared with a range of its own, and hands out ports of rs2's."""
    declared = net.config(more).replace("passive_ports: 32000-32000", "passive_ports: 31000-31999", 1)
    return declared.replace("passive_ports: 32000-32000", "passive_ports: 32000-32999")


def test_nat_a_port_of_another_servers_range():
    """Nobody receives the other server's file, the server's own clients least of all; the operator hears of it once."""
    with Topology("nat", servers=2, ranges=[(32000, 32000)] * 2) as net:
        daemon = net.start_daemon(wrong_range(net)).wait_ready()
        with net.client1.enter():
            wrong, right = session_at(net.vip, "rs1"), session_at(net.vip, "rs2")
            for _ in range(10):
                with contextlib.suppress(ftplib.Error):
                    wrong.announce("PASV")
                with right.announce("PASV")() as data:
                    # Whoever of the two is called has something to send.
                    right.putcmd("RETR server.txt")
                    wrong.putcmd("RETR server.txt")
                    data.settimeout(10)
                    assert data.recv(100) == b"rs2\n"
                assert right.getresp().startswith("150")
                right.voidresp()
                wrong.close()
                wrong = session_at(net.vip, "rs1")
        metrics = daemon.metrics()
        # (With one port in its range rs1 cannot listen again at once, and then names none.)
        assert metrics.sum(UNPARSED, reason="out_of_range") >= 1, metrics
        assert metrics.sum(DATA, result="misdirected") == 0
        said = [line for line in daemon.log().splitlines() if "WARN" in line and "rs1" in line and "31000-31999" in line]
        assert len(said) == 1 and "32000" in said[0] and "passive_ports" in said[0], daemon.log()


def test_nat_a_health_check_sees_the_wrong_range():
    with Topology("nat", servers=2, ranges=[(32000, 32000)] * 2) as net:
        check = "health_check: {kind: transfer, interval: 500ms, timeout: 5s}"
        daemon = net.start_daemon(wrong_range(net, [check])).wait_ready()

        def down():
            return [line for line in daemon.log().splitlines() if "down:" in line]

        poll(down, what=lambda: f"rs1 down:\n{daemon.log()}")
        (line,) = down()
        assert "rs1" in line and 'step="pasv"' in line, line
        assert "port 32000" in line and "31000-31999" in line, line
        poll(lambda: daemon.metrics().sum(UP, server="rs2") == 1, what="rs2 up")
        assert daemon.metrics().sum(UP, server="rs1") == 0


def test_dr_two_sessions_name_the_same_port():
    """Of one address, at two servers. The first one's row stays, whatever the second does."""
    with Topology("dr", servers=2) as net:
        daemon = net.start_daemon(net.config(["pinhole_timeout: 1m"])).wait_ready()
        with net.client1.enter():
            first, second = session_at(net.vip, "rs2"), session_at(net.vip, "rs1")
            opening = first.announce("PORT", port=OWN)
            before = rows(net, "active4")
            assert len(before) == 1, before
            for command in (port_command(net.client1.address, OWN), "ABOR", "NOOP"):
                with contextlib.suppress(ftplib.Error):
                    second.sendcmd(command)
                after = {key: value for key, value in rows(net, "active4").items() if key in before}
                assert after == before, f"after the other's {command}: {after}, not {before}"
            assert first.fetch(opening).decode().strip() == first.server
            # Its turn, once the port is free.
            assert second.fetch(second.announce("PORT")).decode().strip() == second.server
        assert daemon.metrics().sum(DATA, result="misdirected") == 0


def test_nat_a_row_of_a_former_process_is_kept():
    """Killed while a client waits with its port; the next daemon translates the other server's same port."""
    with Topology("nat", servers=2, ranges=[(40000, 40000)] * 2, kinds=["pyftpdlib alone"]) as net:
        config = net.config(["pinhole_timeout: 2m"])
        daemon = net.start_daemon(config).wait_ready()
        with net.client1.enter():
            first = session_at(net.vip, "rs1")
            waiting = first.announce("PASV")
            before = rows(net, "exact4")
            assert len(before) == 1, before
            daemon.kill9()
            daemon = net.start_daemon(config).wait_ready()
            second = session_at(net.vip, "rs2")
            host, port = ftplib.parse227(second.sendcmd("PASV"))
            after = rows(net, "exact4")
            assert before.items() <= after.items(), f"{before} became {after}"
            assert port != 40000, "a port that was taken"
            opening = lambda: socket.create_connection((host, port), timeout=20)
            assert second.fetch(opening).decode().strip() == "rs2"
            assert first.fetch(waiting).decode().strip() == "rs1"
        assert daemon.metrics().sum(DATA, result="misdirected") == 0
