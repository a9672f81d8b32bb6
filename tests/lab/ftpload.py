"""FTP clients by the dozen: real sessions that tell where they and their data connections have landed.

A session knows its real server twice and independently: the control connection's from the banner (`220 rs2 ready`), the data
connection's from the file it fetched (`rs2`). The client believes a 227 like a client of old, so a leaked address shows.
"""

import collections
import contextlib
import ftplib
import itertools
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field

MODES = ("PASV", "EPSV", "PORT", "EPRT")
FILE = "server.txt"


class Session(ftplib.FTP):
    """A control connection. `announce` and `fetch` are apart, so that a test can do something in between."""

    def __init__(self, host, timeout=20.0, port=21, tls=False, source=None):
        """`source`: the address it comes from, where the host has more than one."""
        super().__init__(timeout=timeout, source_address=source and (source, 0))
        # Bytes over data connections, so far.
        self.received = 0
        self.tls = _tls_context() if tls else None
        self.protected = None
        self.connect(host, port)
        # `220 rs2 ready`, or `220-rs2 ready` as the first of several lines.
        self.server = self.welcome[4:].split()[0]
        if self.tls and port != 990:
            # RFC 4217: from here on the control connection cannot be read by anyone between.
            self.protected = self.voidcmd("AUTH TLS")
            self.sock = self.tls.wrap_socket(self.sock)
            self.file = self.sock.makefile("r", encoding=self.encoding)
        self.login()
        if self.tls:
            self.voidcmd("PBSZ 0")
            self.voidcmd("PROT P")
        self.voidcmd("TYPE I")

    def connect(self, host, port):
        if port != 990:
            return super().connect(host, port)
        # Implicit TLS: from the first byte on.
        self.host, self.port = host, port
        self.sock = self.tls.wrap_socket(socket.create_connection((host, port), timeout=self.timeout))
        self.af = self.sock.family
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()
        return self.welcome

    def announce(self, mode, port=0):
        """Agrees on a data connection; returns how to open it, for `fetch`. `port` is our own, in the active modes."""
        if mode == "PASV":
            host, port = ftplib.parse227(self.sendcmd("PASV"))
            return lambda: self._connect(host, port)
        if mode == "EPSV":
            host, port = ftplib.parse229(self.sendcmd("EPSV"), self.sock.getpeername())
            return lambda: self._connect(host, port)
        own, *_ = self.sock.getsockname()
        listener = socket.create_server((own, port), family=self.sock.family, backlog=1)
        listener.settimeout(self.timeout)
        try:
            if mode == "PORT":
                self.sendport(own, listener.getsockname()[1])
            else:
                self.sendeprt(own, listener.getsockname()[1])
        except BaseException:
            listener.close()
            raise
        host, *_ = self.sock.getpeername()
        return _Accept(listener, host)

    def fetch(self, opening, path=FILE, verb="RETR"):
        """Retrieves a file, or a listing, over the data connection that was announced."""
        with self.data(opening, f"{verb} {path}") as data:
            content = b"".join(self._chunks(data))
        self.voidresp()
        return content

    def store(self, opening, path, content):
        """Sends a file over the data connection that was announced."""
        with self.data(opening, f"STOR {path}") as data:
            data.sendall(content)
            if self.tls:
                # The end of the file is the end of TLS.
                data.unwrap()
        self.voidresp()

    @contextlib.contextmanager
    def data(self, opening, command):
        """The data connection of a transfer; its last reply is the caller's to read."""
        # Passive clients connect before they ask, active servers connect after they were asked.
        data = None if isinstance(opening, _Accept) else opening()
        try:
            reply = self.sendcmd(command)
            if not reply.startswith("1"):
                raise ftplib.error_reply(reply)
            data = data or opening()
            if self.tls:
                data = self.tls.wrap_socket(data)
            yield data
        finally:
            if data is not None:
                data.close()
            if isinstance(opening, _Accept):
                opening.listener.close()

    def _chunks(self, data):
        while chunk := data.recv(65536):
            self.received += len(chunk)
            yield chunk

    def _connect(self, host, port):
        try:
            return socket.create_connection((host, port), timeout=self.timeout, source_address=self.source_address)
        except OSError as error:
            # A server's own address here is a 227 that nobody rewrote.
            raise type(error)(f"{error} at {host}") from error


def session_at(vip, server, tls=False):
    """A session at this server; the scheduler gives each in its turn."""
    while (session := Session(vip, timeout=60.0, tls=tls)).server != server:
        session.close()
    return session


class _Accept:
    """Opens an active data connection: the server's turn to connect, from the address of the control connection."""

    def __init__(self, listener, expected):
        self.listener = listener
        self.expected = expected

    def __call__(self):
        data, (host, *_) = self.listener.accept()
        # Careful clients insist on the address. Not on the port: in NAT, conntrack takes another one than 20 when the client
        # uses a port again that it used with another server in the last two minutes.
        if host != self.expected:
            data.close()
            raise ConnectionError(f"data connection from {host}")
        data.settimeout(self.listener.gettimeout())
        return data


@dataclass
class Transfer:
    """One transfer: who answered on the control connection, who sent the file."""

    session: int
    mode: str
    control: str | None = None
    data: str | None = None
    error: str | None = None
    began: float = 0.0
    seconds: float = 0.0

    @property
    def right(self):
        return self.error is None and self.data == self.control

    @property
    def misdirected(self):
        return self.data is not None and self.data != self.control


@dataclass
class Report:
    """What a load saw. Threads append to it while it runs."""

    transfers: list = field(default_factory=list)
    servers: list = field(default_factory=list)
    errors: list = field(default_factory=list)

    @property
    def total(self):
        return len(self.transfers)

    @property
    def right(self):
        return sum(transfer.right for transfer in self.transfers)

    @property
    def misdirected(self):
        return sum(transfer.misdirected for transfer in self.transfers)

    @property
    def sessions_per_server(self):
        return dict(sorted(collections.Counter(self.servers).items()))

    def __str__(self):
        lines = [f"{self.right} of {self.total} right, {self.misdirected} misdirected, sessions {self.sessions_per_server}"]
        for mode in dict.fromkeys(transfer.mode for transfer in self.transfers):
            outcomes = collections.Counter(_outcome(transfer) for transfer in self.transfers if transfer.mode == mode)
            lines.append(f"  {mode}: " + ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()))
        return "\n".join(lines + [f"  {error}" for error in self.errors])


def _outcome(transfer):
    if transfer.error is not None:
        return transfer.error
    return "right" if transfer.right else "misdirected"


class Load:
    """Concurrent sessions of one client, in threads of their own. Start it inside `client.enter()`."""

    def __init__(self, host, sessions=30, rounds=2, modes=MODES, timeout=20.0, together=False, tls=False, port=21, think=0.0,
                 sources=(None,)):
        """`together`: every session announces before the first data connection is opened, in each step. `rounds=None`: until
        `stop`. `think`: seconds from one transfer to the session's next. `sources`: addresses of the host, taken in turn."""
        self.over, self.think = threading.Event(), think
        self.host, self.rounds, self.modes, self.timeout = host, rounds, modes, timeout
        self.together, self.tls, self.port, self.sources = together, tls, port, sources
        self.report = Report()
        # Nobody transfers before all are logged in: the sessions exist at the same time.
        self.barrier = threading.Barrier(sessions)
        self.threads = [threading.Thread(target=self._session, args=(n,), daemon=True) for n in range(sessions)]
        for thread in self.threads:
            thread.start()

    def stop(self):
        """Every session ends after the transfer that it is at."""
        self.over.set()
        return self.wait()

    def wait(self):
        for thread in self.threads:
            thread.join()
        return self.report

    def _open(self, number):
        return Session(self.host, self.timeout, self.port, self.tls, self.sources[number % len(self.sources)])

    def _session(self, number):
        try:
            session = self._open(number)
            self.report.servers.append(session.server)
            self.barrier.wait()
        except (OSError, EOFError, ftplib.Error, threading.BrokenBarrierError) as error:
            self.report.errors.append(f"session {number}: {_name(error)}")
            self.barrier.abort()
            return
        for mode in itertools.cycle(self.modes) if self.rounds is None else self.modes * self.rounds:
            if self.over.wait(self.think):
                break
            session = self._transfer(session, Transfer(number, mode))
        if session is not None:
            session.close()

    def _transfer(self, session, transfer):
        """Does one transfer and returns the session for the next: none if it was lost, as a client would notice."""
        started = transfer.began = time.monotonic()
        try:
            session = session or self._open(transfer.session)
            transfer.control = session.server
            opening = session.announce(transfer.mode)
            if self.together:
                self.barrier.wait(self.timeout)
            transfer.data = session.fetch(opening).decode().strip()
        except (OSError, EOFError, ftplib.Error, threading.BrokenBarrierError) as error:
            transfer.error = _name(error)
            if self.together:
                # The others wait for this announcement; without it their step is no step of all.
                self.barrier.abort()
            session = session and self._after(session, error)
        transfer.seconds = time.monotonic() - started
        self.report.transfers.append(transfer)
        return session

    def _after(self, session, error):
        """The session, if it goes on after a transfer that failed."""
        if isinstance(error, ftplib.Error):
            # The server said no.
            return session
        session.close()
        return None


def load(client, host, **options):
    """Runs a load from a client host to its end."""
    with client.enter():
        running = Load(host, **options)
    return running.wait()


@contextlib.contextmanager
def busy(client, host, **options):
    """Loads one after the other from a client host, as long as the block runs. Yields their reports."""
    reports, stop = [], threading.Event()

    def work():
        while not stop.is_set():
            reports.append(load(client, host, **options))

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield reports
    finally:
        stop.set()
        worker.join()


def _tls_context():
    context = ssl.create_default_context()
    # The servers' certificates are their own.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _name(error):
    return f"{type(error).__name__} {str(error)[:60]}".strip()
