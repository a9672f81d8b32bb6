"""`public_ports`: clients are told a handful of ports, whatever their servers name."""

import contextlib
import ftplib
import socket
import threading

from admin import ask_json
from ftpload import FILE, Session
from hosts import poll
from topology import Topology

DATA = "ftpdirector_data_connections_total"
UNPARSED = "ftpdirector_unparsed_total"
PUBLIC = range(8192, 8201)
SHARED = [(40000, 40099)] * 3


def public(net, *more, ipv6=False):
    """The cluster's configuration. Named ports wait for minutes: the guest is slow."""
    lines = [f"passive: {{public_ports: {PUBLIC[0]}-{PUBLIC[-1]}}}", "pinhole_timeout: 3m", *more]
    return net.config(more=lines, ipv6=ipv6)


def ask(session, mode):
    """The port that PASV or EPSV brings, and how to go there."""
    if mode == "PASV":
        host, port = ftplib.parse227(session.sendcmd(mode))
    else:
        host, port = ftplib.parse229(session.sendcmd(mode), session.sock.getpeername())
    return port, lambda: session._connect(host, port)


def patiently(session, mode, refused):
    """As `ask`, of a client that asks again when it is refused for the moment."""

    def asked():
        try:
            return ask(session, mode)
        except ftplib.error_temp as error:
            assert "No data port is free" in str(error), error
            refused.append(mode)
            return None

    return poll(asked, deadline=300.0, what="a free port")


def fetched(session, opening):
    """Whose file came, beside whose it should be."""
    return session.fetch(opening, FILE).decode().strip(), session.server


def visits(net, vip, sessions, modes):
    """So many sessions of one address at once; what came, the ports they were told, how often they were refused."""
    came, ports, refused, failed = [], [], [], []
    barrier = threading.Barrier(sessions)

    def visit():
        try:
            session = Session(vip, timeout=60.0)
            barrier.wait()
            for mode in modes:
                port, opening = patiently(session, mode, refused)
                ports.append(port)
                came.append(fetched(session, opening))
            session.close()
        except BaseException as error:
            barrier.abort()
            failed.append(error)

    with net.client1.enter():
        threads = [threading.Thread(target=visit, daemon=True) for _ in range(sessions)]
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed
    return came, ports, refused


def thirty_sessions(ipv6=False, modes=("PASV", "EPSV") * 2):
    with Topology("nat", ranges=SHARED) as net:
        daemon = net.start_daemon(public(net, ipv6=ipv6)).wait_ready()
        came, ports, refused = visits(net, net.vip6 if ipv6 else net.vip, 30, modes)
        assert len(came) == 30 * len(modes), came
        assert all(data == control for data, control in came), came
        assert {control for _, control in came} == {"rs1", "rs2", "rs3"}, came
        assert set(ports) <= set(PUBLIC), ports
        assert daemon.metrics().sum(UNPARSED, reason="port_taken") == len(refused), refused
        assert daemon.metrics().sum(DATA, result="misdirected") == 0
        poll(lambda: daemon.metrics().sum(DATA, result="landed") >= len(came), what="all data connections counted as landed")


def test_thirty_sessions_behind_one_address():
    thirty_sessions()


def test_ipv6_thirty_sessions_behind_one_address():
    thirty_sessions(ipv6=True, modes=("EPSV",) * 2)


def test_ranges_of_the_servers_own():
    """Each server has a range of its own: it is translated all the same, and closed at the VIP."""
    with Topology("nat") as net:
        net.start_daemon(public(net)).wait_ready()
        came, ports, _ = visits(net, net.vip, 6, ("PASV", "EPSV"))
        assert len(came) == 12 and all(data == control for data, control in came), came
        assert set(ports) <= set(PUBLIC), ports


def test_all_taken():
    """Nine of a client's data connections are awaited: the tenth is refused, and gets the port of the first that has come."""
    with Topology("nat", ranges=SHARED) as net:
        daemon = net.start_daemon(public(net)).wait_ready()
        with net.client1.enter():
            sessions = [Session(net.vip, timeout=60.0) for _ in range(10)]
            openings = [ask(session, "EPSV") for session in sessions[:9]]
            assert sorted(port for port, _ in openings) == list(PUBLIC), openings
            tenth = sessions[9]
            for mode in ("EPSV", "PASV"):
                try:
                    raise AssertionError(ask(tenth, mode))
                except ftplib.error_temp as error:
                    assert str(error).startswith("425 "), error
        assert daemon.metrics().sum(UNPARSED, reason="port_taken") == 2
        assert daemon.log().count(f"no port is free at {net.vip} for {net.client1.address}") == 1, daemon.log()
        told = ask_json(daemon, "explain", net.client1.address)
        assert told["verdict"] == "ports_taken" and f"{PUBLIC[0]}-{PUBLIC[-1]}" in told["sentence"], told
        # Rows are each address's own.
        with net.client2.enter():
            session = Session(net.vip, timeout=60.0)
            port, opening = ask(session, "EPSV")
            data, control = fetched(session, opening)
            assert port in PUBLIC and data == control, (port, data, control)
        with net.client1.enter():
            data, control = fetched(sessions[0], openings[0][1])
            assert data == control, (data, control)
            port, opening = patiently(tenth, "EPSV", [])
            assert port == openings[0][0], (port, openings)
            # Those that were named before are theirs still.
            for session, (_, opening) in zip([*sessions[1:9], tenth], [*openings[1:], (port, opening)]):
                data, control = fetched(session, opening)
                assert data == control, (data, control)
        assert daemon.metrics().sum(DATA, result="misdirected") == 0


@contextlib.contextmanager
def listening(server, ports):
    with contextlib.ExitStack() as stack, server.enter():
        for port in ports:
            stack.enter_context(socket.create_server((server.address, port)))
        yield


def reaches(host, vip, port):
    with host.enter(), socket.socket() as data:
        data.settimeout(2)
        return data.connect_ex((vip, port)) == 0


def test_nothing_else_is_open():
    """Neither the ports that servers name, nor public ones that no session was told, nor those of another address."""
    with Topology("nat", ranges=SHARED) as net:
        daemon = net.start_daemon(public(net)).wait_ready()
        others = [40000, 40099, PUBLIC[0], PUBLIC[-1]]
        with contextlib.ExitStack() as stack:
            for server in net.servers:
                stack.enter_context(listening(server, others))
            with net.client1.enter():
                session = Session(net.vip, timeout=60.0)
                port, opening = ask(session, "EPSV")
            for other in others:
                assert other == port or not reaches(net.client1, net.vip, other), other
                assert not reaches(net.client2, net.vip, other), other
            assert not reaches(net.client2, net.vip, port)
            poll(lambda: daemon.metrics().sum("ftpdirector_unexpected_data_total") > 0, what="strangers counted")
            with net.client1.enter():
                data, control = fetched(session, opening)
                assert data == control, (data, control)


def test_a_port_that_was_told_outlives_the_daemon():
    """Its rows stand, and the next daemon gives the port to nobody else meanwhile."""
    with Topology("nat", ranges=SHARED) as net:
        daemon = net.start_daemon(public(net)).wait_ready()
        with net.client1.enter():
            first, next_one = (Session(net.vip, timeout=60.0) for _ in range(2))
            port, opening = ask(first, "EPSV")
        daemon.kill9()
        net.start_daemon(public(net)).wait_ready()
        with net.client1.enter():
            another, way = ask(next_one, "EPSV")
            assert another in PUBLIC and another != port, (another, port)
            for session, opening in ((first, opening), (next_one, way)):
                data, control = fetched(session, opening)
                assert data == control, (data, control)
