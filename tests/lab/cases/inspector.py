"""Control connections that are hard to read, on real TCP: cut, pipelined, aborted, answered in pieces."""

import ftplib
import socket
import threading

from ftpload import MODES, Session
from hosts import poll
from topology import VIP, Topology

REWRITTEN = "ftpdirector_replies_rewritten_total"


class Dribble(Session):
    """Sends one byte a segment, as people at a telnet prompt do."""

    def putline(self, line):
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in (line + ftplib.CRLF).encode():
            self.sock.sendall(bytes([byte]))


def test_one_byte_a_segment():
    for forwarding in ("nat", "dr"):
        with Topology(forwarding) as net:
            net.start_daemon().wait_ready()
            with net.client1.enter():
                session = Dribble(net.vip)
                for mode in MODES:
                    assert session.fetch(session.announce(mode)).decode().strip() == session.server, mode


def test_pipelined_commands():
    """Several commands in one segment; the one that matters is neither the first nor the last."""
    for forwarding in ("nat", "dr"):
        with Topology(forwarding) as net:
            net.start_daemon().wait_ready()
            with net.client1.enter():
                session = Session(net.vip)
                for _ in range(3):
                    session.sock.sendall(b"NOOP\r\nPASV\r\nNOOP\r\n")
                    session.voidresp()
                    host, port = ftplib.parse227(session.getresp())
                    session.voidresp()
                    data = session.fetch(lambda: socket.create_connection((host, port), timeout=session.timeout))
                    assert data.decode().strip() == session.server
                own, *_ = session.sock.getsockname()
                with socket.create_server((own, 0)) as listener:
                    listener.settimeout(session.timeout)
                    port = listener.getsockname()[1]
                    numbers = ",".join([*own.split("."), str(port // 256), str(port % 256)])
                    session.sock.sendall(f"NOOP\r\nPORT {numbers}\r\nRETR server.txt\r\nNOOP\r\n".encode())
                    data, _ = listener.accept()
                    assert data.makefile().read().strip() == session.server
                for _ in range(5):
                    session.getresp()


def test_abort_with_urgent_data():
    """Telnet's interrupt and synch (RFC 959 §4.1.3) in the middle of a transfer; the next one is as good as the first."""
    with Topology("nat", vsftpd="async_abor_enable=YES\n") as net:
        net.start_daemon().wait_ready()
        with net.client1.enter():
            session = Session(net.vip)
            for mode in ("PASV", "EPSV"):
                data = session.announce(mode)()
                session.sendcmd("RETR big.bin")
                data.recv(1)
                session.sock.sendall(b"\xff\xf4")
                session.sock.send(b"\xff", socket.MSG_OOB)
                session.sock.sendall(b"\xf2ABOR\r\n")
                data.close()
                # 426 for the transfer and 226 or 225 for the ABOR, in whatever order the server has them.
                assert {session.getmultiline()[:3] for _ in range(2)} & {"225", "226"}
                assert session.fetch(session.announce(mode)).decode().strip() == session.server


class Halves(threading.Thread):
    """A server whose 227 comes in two segments, cut at another byte each time."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.address = host.address
        with host.enter():
            self.control = socket.create_server((host.address, 21))
            self.data = socket.create_server((host.address, host.passive_ports[0]))
        self.port = host.passive_ports[0]

    def run(self):
        client, _ = self.control.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(b"220 halves ready\r\n")
        cut = 1
        for line in client.makefile(newline="\r\n"):
            verb = line.split()[0].upper()
            if verb == "PASV":
                numbers = ",".join([*self.address.split("."), str(self.port // 256), str(self.port % 256)])
                reply = f"227 Entering Passive Mode ({numbers}).\r\n".encode()
                client.sendall(reply[:cut])
                client.sendall(reply[cut:])
                cut = cut % (len(reply) - 1) + 1
            elif verb == "RETR":
                data, _ = self.data.accept()
                client.sendall(b"150 here it comes\r\n")
                data.sendall(b"halves\n")
                data.close()
                client.sendall(b"226 done\r\n")
            else:
                client.sendall({"USER": b"230 in\r\n", "QUIT": b"221 bye\r\n"}.get(verb, b"200 ok\r\n"))


def test_227_in_two_segments():
    with Topology("nat", servers=1) as net:
        net.servers[0].kill()
        Halves(net.servers[0]).start()
        daemon = net.start_daemon(net.config(more=["health_check: {kind: none}"])).wait_ready()
        with net.client1.enter():
            session = Session(net.vip)
            for number in range(47):
                opening = session.announce("PASV")
                assert session.fetch(opening) == b"halves\n", number
        assert net.leaked() == 0
        poll(lambda: daemon.metrics().sum(REWRITTEN) >= 47, what="47 rewritten replies")


def test_a_third_party_is_refused():
    """The server never sees the PORT; the client hears the server's own 500."""
    with Topology("nat") as net:
        daemon = net.start_daemon().wait_ready()
        with net.client1.enter():
            session = Session(net.vip)
            for command in ("PORT 10,1,0,12,200,10", "EPRT |1|10.1.0.12|51210|", "PORT 10,1,0,11,0,22"):
                try:
                    answer = session.sendcmd(command)
                    raise AssertionError(f"{command}: {answer}")
                except ftplib.error_perm as error:
                    assert str(error).startswith("50"), (command, error)
            assert session.fetch(session.announce("EPSV")).decode().strip() == session.server
        assert daemon.metrics().sum("ftpdirector_expectations_total", result="refused") == 3
        assert VIP not in net.director.run(["nft", "list", "map", "inet", "ftpdirector", "active_nat4"]).stdout
