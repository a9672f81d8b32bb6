"""Slow servers, slow users, one PORT for several transfers, odd spellings: a session that plain TCP survives, we survive."""

import ftplib
import socket
import threading
import time

from ftpload import Session
from hosts import poll
from rows import rows
from selection import long
from topology import Topology

PASSIVE, ACTIVE = ("PASV", "EPSV"), ("PORT", "EPRT")
# Seconds. A thought and a tape robot take longer than the default of pinhole_timeout, an answer does not.
ANSWER, THOUGHT, STAGE = 12, 35, 40


@long
def test_nat_slow():
    slow("nat")


@long
def test_dr_slow():
    slow("dr")


@long
def test_nat_slow_with_one_range_for_all():
    slow("nat", ranges="shared")


def slow(forwarding, ranges="disjoint"):
    """Each in a session and thread of its own; what a server's or user's slowness would break with rows of fixed time."""
    with Topology(forwarding, servers=2, ranges=ranges, kinds=("slow",)) as net:
        daemon = net.start_daemon().wait_ready()
        todo = [Slow(net, f"{mode} is answered late", mode, [f"SITE ANSWER {ANSWER}"]) for mode in PASSIVE]
        todo += [Slow(net, f"{mode}, a thought, RETR", mode, pause=THOUGHT, late=True) for mode in PASSIVE]
        todo += [Slow(net, f"{mode}, a thought, RETR", mode, pause=THOUGHT) for mode in ACTIVE]
        todo += [Slow(net, f"{mode}, RETR, a late 150", mode, [f"SITE STAGE {STAGE}"], late=True) for mode in PASSIVE]
        todo += [Slow(net, f"{mode}, RETR, a late call", mode, [f"SITE STAGE {STAGE}"]) for mode in ACTIVE]
        for one in todo:
            one.thread.join()
        wrong = [f"{one.name}: {one.error!r}" for one in todo if one.error]
        assert not wrong, "\n".join(wrong)
        metrics = daemon.metrics()
        assert metrics.sum("ftpdirector_data_connections_total", result="misdirected") == 0, metrics
        # Nothing is kept for those who are gone.
        for one in todo:
            one.session.close()
        poll(lambda: daemon.metrics().sum("ftpdirector_pinholes") == 0, what="the end of every row")


class Slow:
    """A session with one transfer that takes its time."""

    def __init__(self, net, name, mode, habits=(), pause=0, late=False):
        """`late`: the client connects behind the 150."""
        self.name, self.error = name, None
        with net.client1.enter():
            self.session = Session(net.vip, timeout=90)
        self.thread = threading.Thread(target=self.run, args=(net, mode, habits, pause, late), daemon=True)
        self.thread.start()

    def run(self, net, mode, habits, pause, late):
        try:
            with net.client1.enter():
                for habit in habits:
                    self.session.voidcmd(habit)
                opening = self.session.announce(mode)
                # What it waits for is time.
                time.sleep(pause)
                got = (self.behind_150 if late else self.session.fetch)(opening).decode().strip()
            assert got == self.session.server, f"{got} instead of {self.session.server}"
        except (OSError, EOFError, AssertionError, ftplib.Error) as error:
            self.error = error

    def behind_150(self, opening):
        assert self.session.sendcmd("RETR server.txt").startswith("1")
        with opening() as data:
            got = data.makefile("rb").read()
        self.session.voidresp()
        return got


def test_nat_one_port_for_several_transfers():
    one_port("nat")


@long
def test_dr_one_port_for_several_transfers():
    one_port("dr")


def one_port(forwarding):
    """RFC 959 §3.2: PORT lasts."""
    with Topology(forwarding, servers=2, kinds=("slow",)) as net:
        net.start_daemon(net.config(["pinhole_timeout: 2s"])).wait_ready()
        active = "active_nat4" if forwarding == "nat" else "active4"
        with net.client1.enter():
            session = Session(net.vip)
            own, *_ = session.sock.getsockname()
            with socket.create_server((own, 0)) as listener:
                listener.settimeout(20)
                session.sendport(own, listener.getsockname()[1])
                for number in range(3):
                    assert session.sendcmd("RETR server.txt").startswith("1"), number
                    data, _ = listener.accept()
                    with data:
                        assert data.makefile("r").read().strip() == session.server, number
                    session.voidresp()
                    poll(lambda: not rows(net, active), what="the end of the transfer's rows")


def test_nat_spellings():
    """Replies that end in something else, that have no blank behind the code, that are UTF-8; P@SW."""
    with Topology("nat", servers=2, kinds=("slow",)) as net:
        daemon = net.start_daemon(net.config(["passive: {advertise: 10.0.0.99}"])).wait_ready()
        with net.client1.enter():
            for habit, verb in [
                ("SITE TEXT none", b"PASV"),
                ("SITE TEXT utf8", b"PASV"),
                ("SITE TEXT ascii", b"P@SW"),
            ]:
                session = Session(net.vip)
                session.voidcmd(habit)
                session.sock.sendall(verb + b"\r\n")
                reply = session.sock.recv(1000)
                assert b"(10,0,0,99," in reply, reply
                reply.decode()
        assert daemon.metrics().sum("ftpdirector_replies_rewritten_total") == 3
