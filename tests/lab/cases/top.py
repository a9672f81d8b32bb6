"""`ftpdirector top`: a page in a pipe, and a terminal that is always given back."""

import os
import pty
import signal
import subprocess
import termios

from daemon import BINARY, ftpdirector
from ftpload import Session, busy
from hosts import poll
from topology import Topology

# Cursor shown, main screen: what is written last.
GIVEN_BACK = "\x1b[?25h\x1b[?1049l"


def test_top_prints_a_page_in_a_pipe():
    with Topology("nat") as net:
        daemon = net.start_daemon().wait_ready()
        with net.client1.enter():
            session = Session(net.vip)
        words = ["top", "--config", daemon.config, "-d", "0.5"]
        page = top_of(net, *words)
        lines = {line.split()[0]: line.split() for line in page.splitlines() if line}
        assert lines["lab"][1:4] == ["nat", "3/3", "up"], page
        assert lines[session.server][1:4] == ["up", "1", "1"], page
        assert "\x1b" not in page, page
        # While somebody works there are rates: sessions, data connections and bytes.
        with busy(net.client1, net.vip, sessions=3, rounds=1):
            poll(lambda: works(top_of(net, *words, "-n", "2", "-b", "--sort", "bytes", "--cluster", "lab")), what="rates")
        done = ftpdirector(net.director, *words, "--cluster", "other")
        assert done.returncode == 1 and "no cluster other: there are lab" in done.stderr, done
        assert daemon.term() == 0
        done = ftpdirector(net.director, *words)
        assert done.returncode == 69 and "no daemon answers" in done.stderr, done


def top_of(net, *words):
    done = ftpdirector(net.director, *words)
    assert done.returncode == 0, done
    return done.stdout


def works(page):
    """Every rate of the cluster is above nothing in the last page."""
    rows = [line.split() for line in page.splitlines() if line.startswith("lab ")]
    assert len(rows) == 2, page
    name, _, _, _, sessions, new, _, data, bytes_in, bytes_out, misdirected = rows[-1]
    assert (name, misdirected) == ("lab", "0"), page
    return "-" not in (new, data, bytes_in, bytes_out) and min(float(new), float(data)) > 0 and bytes_out != "0"


class Terminal:
    """A pseudo-terminal, and `top` on it."""

    def __init__(self, net, daemon):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.seen = ""
        environment = os.environ | {"TERM": "linux"}
        command = [BINARY, "top", "--config", str(daemon.config), "--delay", "0.2"]
        with net.director.enter():
            self.top = subprocess.Popen(command, stdin=self.slave, stdout=self.slave, stderr=self.slave, env=environment)
        os.set_blocking(self.master, False)

    def read(self):
        try:
            self.seen += os.read(self.master, 1 << 16).decode()
        except BlockingIOError:
            pass
        return self.seen

    def frame(self):
        """The last whole page since `shows`, or none yet."""
        _, *pages = self.read().split("\x1b[H")
        return pages[-2] if len(pages) > 1 else None

    def type(self, keys):
        os.write(self.master, keys)

    def shows(self, text):
        """In what it paints from now on."""
        self.read()
        self.seen = ""
        poll(lambda: text in self.read(), what=lambda: f"{text!r} on the screen: {self.seen[-1500:]!r}")

    def ended(self):
        """Its exit status; the terminal is as it was."""
        def over():
            self.read()
            return self.top.poll() is not None

        poll(over, what="the end of top")
        self.read()
        assert self.seen.endswith(GIVEN_BACK), repr(self.seen[-200:])
        assert termios.tcgetattr(self.slave) == self.before
        for end in (self.master, self.slave):
            os.close(end)
        return self.top.returncode


def test_top_on_a_terminal():
    with Topology("dr") as net:
        daemon = net.start_daemon().wait_ready()
        with net.client1.enter():
            session = Session(net.vip)
        terminal = Terminal(net, daemon)
        terminal.shows(f"  {session.server} ")
        assert termios.tcgetattr(terminal.slave) != terminal.before
        terminal.type(b"s")
        terminal.shows("sorted by sessions")
        terminal.type(b"c")
        terminal.shows("cluster: lab")
        # The daemon is killed and started again under it.
        daemon.kill9()
        terminal.shows("trying again")
        daemon = net.start_daemon(daemon.config.read_text()).wait_ready()
        poll(lambda: (page := terminal.frame()) and "trying again" not in page, what="a page without a complaint")
        terminal.type(b"q")
        assert terminal.ended() == 0
        # Ctrl-C, and whoever ends it from elsewhere.
        for end in (lambda top: top.type(b"\x03"), lambda top: top.top.send_signal(signal.SIGTERM)):
            terminal = Terminal(net, daemon)
            terminal.shows("  rs1 ")
            end(terminal)
            assert terminal.ended() == 0
