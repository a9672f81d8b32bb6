"""Several of everything at once: families, VIPs, control ports, clusters, and a real server in two of them."""

import contextlib
import socket

from ftpload import Load, Session
from ftpservers import VSFTPD
from hosts import poll
from realserver import TLS, make_certificate
from selection import long
from topology import VIP, VIP6, Topology

DATA = "ftpdirector_data_connections_total"
SECOND, THIRD = "10.0.0.101", "10.0.0.102"
EXTENDED = ("EPSV", "EPRT")


def serve_also(server, port, data_port, tls):
    """Another vsftpd on the same host: on another control port, calling from another port."""
    low, high = server.passive_ports
    ports = f"listen_port={port}\nftp_data_port={data_port}\n"
    config = server.files / f"vsftpd-{port}.conf"
    config.write_text(VSFTPD.format(name=server.name, root=server.files / "srv", low=low, high=high) + ports + tls)
    server.popen(["vsftpd", config])
    with server.enter():
        poll(lambda: _listens(port), what=f"vsftpd on port {port} of {server.name}")


def _listens(port):
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=20) as control:
        return control.recv(100)


def config(net):
    """`one` has both families, two IPv4 VIPs and two control ports; rs2 and rs3 are also in `two`, with an active port."""

    def servers(chosen, families, more=""):
        for server in chosen:
            low, high = server.passive_ports
            for address in (server.address, server.address6)[:families]:
                yield f"      - {{address: '{address}', passive_ports: {low}-{high}{more}}}"

    return "\n".join([
        "clusters:",
        "  - name: one",
        f"    vips: ['{VIP}', '{SECOND}', '{VIP6}']",
        "    ports: [21, 2121]",
        f"    forwarding: {net.forwarding}",
        "    scheduler: rr",
        "    real_servers:",
        *servers(net.servers, 2),
        "  - name: two",
        f"    vips: ['{THIRD}']",
        "    ports: [2200]",
        f"    forwarding: {net.forwarding}",
        "    scheduler: rr",
        "    real_servers:",
        *servers(net.servers[1:], 1, ", active_port: 2021"),
        "",
    ])


def calls_from(vip, port, tls=False):
    """The port that the server's active data connection comes from."""
    session = Session(vip, port=port, tls=tls, timeout=60.0)
    opening = session.announce("EPRT")
    assert session.sendcmd("RETR server.txt").startswith("1")
    data = opening()
    found = data.getpeername()[1]
    opening.listener.close()
    if not tls:
        assert data.recv(100).decode().strip() == session.server
    data.close()
    session.close()
    return found


def test_mixture_nat():
    mixture("nat")


@long
def test_mixture_dr():
    mixture("dr")


def mixture(forwarding):
    make_certificate()
    tls = TLS if forwarding == "nat" else ""
    with Topology(forwarding, vsftpd=tls) as net:
        hosts = [net.director] if forwarding == "nat" else [net.director, *net.servers]
        for host in hosts:
            device = "eth0" if host is net.director else "lo"
            host.ip(*(f"address add {vip}/32 dev {device}" for vip in (SECOND, THIRD)))
        for server in net.servers:
            serve_also(server, 2121, 2120, tls)
            serve_also(server, 2200, 2021, tls)
        daemon = net.start_daemon(config(net)).wait_ready()
        # Before any load: where a client uses a port again, the source translation may take another source port.
        with net.client2.enter():
            for vip, port, expected in ((VIP, 21, 20), (VIP6, 2121, 2120), (SECOND, 2121, 2120), (THIRD, 2200, 2021)):
                assert calls_from(vip, port) == expected, (forwarding, vip, port)
            if tls:
                assert calls_from(SECOND, 2121, tls=True) == 2120
        with net.client1.enter():
            loads = [
                Load(VIP, sessions=6, rounds=1),
                Load(VIP6, sessions=6, rounds=1, modes=EXTENDED, port=2121),
                Load(SECOND, sessions=6, rounds=1, port=2121),
                Load(THIRD, sessions=6, rounds=1, port=2200),
            ]
        for running, total in zip(loads, (24, 12, 24, 24)):
            report = running.wait()
            assert report.right == report.total == total, (forwarding, running.host, report)
        for running, servers in zip(loads, (3, 3, 3, 2)):
            assert len(running.report.sessions_per_server) == servers, (forwarding, running.host, running.report)
        assert daemon.metrics().sum(DATA, result="misdirected") == 0
        for cluster, landed in (("one", 60), ("two", 24)):
            poll(lambda: daemon.metrics().sum(DATA, cluster=cluster, result="landed") >= landed, what=f"{landed} landed")


def test_default_data_port():
    """Neither PORT nor PASV: the server calls the client's control port, from its own − 1. Clear and in both families."""
    for forwarding in ("nat", "dr"):
        with Topology(forwarding, servers=2) as net:
            for server in net.servers:
                server.popen(["python3", "/repo/tests/lab/rfc959.py", server.name, "2100"])
            for server in net.servers:
                with server.enter():
                    poll(lambda: _listens(2100), what=f"the server on {server.name}")
            clusters = [net.config(["ports: [2100]"], ipv6=ipv6) for ipv6 in (False, True)]
            six = clusters[1].split("\n", 1)[1].replace("name: lab", "name: six")
            daemon = net.start_daemon(clusters[0] + six).wait_ready()
            found = []
            with net.client1.enter():
                for vip in (VIP, VIP6) * 2:
                    found.append(by_default(vip))
            assert sorted(found) == ["rs1", "rs1", "rs2", "rs2"], found
            assert daemon.metrics().sum(DATA, result="misdirected") == 0
            poll(lambda: daemon.metrics().sum(DATA, result="landed") >= 4, what="four data connections landed")


def by_default(vip):
    """A transfer to the port of the control connection; returns the server's name, which both connections said."""
    control = socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET)
    control.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    control.settimeout(30)
    control.connect((vip, 2100))
    own, port, *_ = control.getsockname()
    listener = socket.socket(control.family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.settimeout(30)
    listener.bind((own, port))
    listener.listen(1)
    with control, listener, control.makefile("rw", newline="\r\n") as lines:
        name = lines.readline().split()[1]
        for command in ("USER anonymous", "PASS x", "RETR server.txt"):
            print(command, file=lines, flush=True)
            reply = lines.readline()
            assert reply[0] in "123", reply
        data, (host, data_port, *_) = listener.accept()
        with data:
            assert (host, data_port) == (vip, 2099), (host, data_port)
            assert data.recv(100).decode().strip() == name
        assert lines.readline().startswith("226")
        return name
