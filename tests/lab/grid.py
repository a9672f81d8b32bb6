"""The matrix: servers × clients × forwarding methods × families × modes × protection; which cells there are, and trying them.

One cluster has a real server of each kind, so that a data connection can land on a wrong one. Each client has a VIP of its own in
each family: the scheduler's turns there are its own, and it can be given the real server that a cell wants.

    grid.py PART        every cell of a part (nat-clear, nat-tls, dr-clear, …); a line of JSON for each result, for table.py
"""

import collections
import hashlib
import json
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

import clients
from clients import Job
from ftpload import MODES
from ftpservers import KINDS
from guest import MODULES
from hosts import poll
from realserver import CERTIFICATE, make_certificate
from topology import VIP, Topology

FORWARDING = ("nat", "dr", "tun")
CLIENTS = ("curl", "lftp", "ncftp", "tnftp", "wget", "ftplib")
PARTS = [f"{forwarding}-{protection}" for forwarding in FORWARDING for protection in ("clear", "tls")]
DATA = "ftpdirector_data_connections_total"
HUGE = 100
SMALL = 200
# One server of four has an active port of its own: under TLS, DR and TUN need that.
ACTIVE_PORT = 1021


@dataclass(frozen=True)
class Cell:
    """What a client does through one VIP at one real server."""

    server: str
    client: str
    forwarding: str
    family: int
    mode: str
    tls: bool
    task: str = "session"

    @property
    def active(self):
        return self.mode in ("PORT", "EPRT")


# ── which cells are impossible, and why

IMPOSSIBLE = [
    ("PASV and PORT have no place for an IPv6 address (RFC 2428)", lambda c: c.family == 6 and c.mode in ("PASV", "PORT")),
    ("ncftp does not speak IPv6", lambda c: c.client == "ncftp" and c.family == 6),
    ("ncftp has neither EPSV nor EPRT", lambda c: c.client == "ncftp" and c.mode in ("EPSV", "EPRT")),
    ("ncftp and tnftp have no FTP over TLS", lambda c: c.client in ("ncftp", "tnftp") and c.tls),
    ("lftp uses EPRT over IPv6 only", lambda c: c.client == "lftp" and c.family == 4 and c.mode == "EPRT"),
    ("wget uses EPSV and EPRT over IPv6 only", lambda c: c.client == "wget" and c.family == 4 and c.mode in ("EPSV", "EPRT")),
    (
        "Under TLS only the server's source port tells whose an active connection is; pyftpdlib takes any",
        lambda c: c.tls and c.active and c.server == "pyftpdlib",
    ),
    (
        "Under TLS, DR and TUN need an active port of each server's own; ProFTPD and Pure-FTPd have no setting for it (a kernel rule: SERVERS.md)",
        lambda c: c.tls and c.active and c.forwarding != "nat" and c.server in ("proftpd", "pureftpd"),
    ),
]


def why_not(cell):
    """The number and text of the reason why nobody could do this; None if it can be done."""
    return next((number for number, (_, applies) in enumerate(IMPOSSIBLE, 1) if applies(cell)), None)


def sessions(forwarding, tls):
    """Every cell of a part but its long tasks: download, list and upload in one session."""
    return [
        Cell(server, client, forwarding, family, mode, tls)
        for client in CLIENTS
        for family in (4, 6)
        for mode in MODES
        for server in KINDS
    ]


# What takes long is done in one way by each client.
LONG = [
    *(("huge", client, family, mode) for client, family, mode in (("curl", 4, "PASV"), ("lftp", 4, "PORT"), ("tnftp", 6, "EPSV"))),
    ("huge upload", "ftplib", 6, "EPRT"),
    *(("abort", client, 4, mode) for client, mode in (("curl", "EPSV"), ("lftp", "PASV"), ("ncftp", "PASV"), ("tnftp", "EPSV"), ("ftplib", "PORT"))),
    *(
        ("small", client, family, mode)
        for client, family, mode in (
            *(("curl", 4, "EPSV"), ("lftp", 4, "PASV"), ("ncftp", 4, "PORT")),
            *(("tnftp", 4, "EPRT"), ("wget", 6, "EPSV"), ("ftplib", 6, "EPRT")),
        )
    ),
]


def long_tasks(forwarding):
    return [Cell(server, client, forwarding, family, mode, False, task) for task, client, family, mode in LONG for server in KINDS]


# ── trying them


class Wrong(AssertionError):
    """A cell that is not right."""


class Turns:
    """The round-robin scheduler's turns at one VIP: who comes next can be chosen."""

    def __init__(self, host, vip, servers):
        self.host, self.vip, self.servers = host, vip, servers
        self.order, self.last = [], None

    def give(self, wanted):
        """Connects until the next connection is `wanted`'s."""
        while len(self.order) < self.servers:
            self.order.append(self._connect())
        if self.last is None or len(set(self.order)) < self.servers:
            raise Wrong(f"{self.vip} does not go round: {self.order}")
        for _ in range(self.servers):
            if self.order[(self.order.index(self.last) + 1) % self.servers] == wanted:
                return
            self._connect()

    def _connect(self):
        with self.host.enter(), socket.create_connection((self.vip, 21), timeout=60) as control:
            self.last = re.search(rb"rs\d+", control.recv(200))[0].decode()
        return self.last


class Grid:
    """A cluster with a server of each kind, and what its clients got."""

    def __init__(self, forwarding, tls=False, advertise=VIP, report=None):
        """`advertise`: what NAT servers under TLS say in a 227; nobody can rewrite what nobody can read."""
        self.forwarding, self.tls = forwarding, tls
        self.report = report or (lambda *_: None)
        self.net = Topology(forwarding, servers=len(KINDS), kinds=list(KINDS), vips=len(CLIENTS))
        self.by_kind = {server.kind: server for server in self.net.servers}
        self.expected = collections.Counter()
        self.wrong = []
        self.lock = threading.Lock()
        self.numbers = iter(range(1, 1_000_000))
        if tls:
            make_certificate()
            for server in self.net.servers:
                server.certificate = CERTIFICATE
                server.advertise = advertise if forwarding == "nat" else None
            self.by_kind["vsftpd"].active_port = ACTIVE_PORT

    def __enter__(self):
        self.net.__enter__()
        try:
            self.daemon = self.net.start_daemon(self._config()).wait_ready()
        except BaseException as error:
            self.net.__exit__(type(error), error, None)
            raise
        self.directory = self.net.servers[0].files / "jobs"
        self.turns = {
            (family, client): Turns(self.net.client1, vips[number], len(KINDS))
            for family, vips in ((4, self.net.vips), (6, self.net.vips6))
            for number, client in enumerate(CLIENTS)
        }
        self.busy = collections.defaultdict(threading.Lock)
        return self

    def __exit__(self, *error):
        return self.net.__exit__(*error)

    def _config(self):
        more = ["health_check: {kind: none}"]
        ipv6 = self.net.config(more, ipv6=True).removeprefix("clusters:\n").replace("name: lab", "name: lab6")
        return self.net.config(more) + ipv6

    def try_all(self, cells):
        """Tries the cells that are possible, every client's one after the other, the clients at the same time."""
        by_client = collections.defaultdict(list)
        for cell in cells:
            if why_not(cell) is None:
                by_client[cell.client].append(cell)
        threads = [threading.Thread(target=self._one_by_one, args=(cells,), daemon=True) for cells in by_client.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _one_by_one(self, cells):
        for cell in cells:
            started = time.monotonic()
            wrong, words = self._try(cell)
            if wrong:
                with self.lock:
                    self.wrong.append(f"{cell}: {wrong}\n{words[-3000:]}")
            self.report(cell, wrong, time.monotonic() - started)

    def _try(self, cell):
        """Tries one cell; returns what is wrong, and the client's words."""
        # Under TLS the servers name the VIP in a 227, and can name one; and an active connection's VIP follows from server and
        # client, whatever client program it is.
        vip_of = CLIENTS[0] if cell.tls and cell.forwarding == "nat" else cell.client
        turns = self.turns[cell.family, vip_of]
        server = self.by_kind[cell.server]
        with self.lock:
            directory = self.directory / str(next(self.numbers))
        directory.mkdir(parents=True)
        job = Job(self.net.client1, turns.vip, cell.mode, cell.tls, directory, f"upload-{directory.name}")
        try:
            with self.busy[cell.family, vip_of]:
                turns.give(server.name)
                transfers = TASKS[cell.task](cell.client, job, server)
                turns.last = job.servers[-1]
            with self.lock:
                self.expected[server.name] += transfers
            return None, job.words
        except Exception as error:
            # It is not known whose turn it is.
            turns.order.clear()
            return "".join(traceback.format_exception_only(error)).strip(), job.words
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def mirror(self, mode):
        """lftp's mirror with four control connections of one client, at whatever servers; each file says whose it is."""
        with self.lock:
            directory = self.directory / str(next(self.numbers))
        directory.mkdir(parents=True)
        turns = self.turns[4, "lftp"]
        job = Job(self.net.client1, turns.vip, mode, False, directory, "")
        clients.lftp_mirror(job, "small", 4)
        turns.order.clear()
        owners = collections.Counter(_owner(path) for path in (directory / "small").iterdir())
        shutil.rmtree(directory)
        if sum(owners.values()) != SMALL or set(job.modes) != {mode} or not set(owners) <= set(job.servers):
            raise Wrong(f"mirrored {owners} from {job.servers} with {job.modes}")
        with self.lock:
            self.expected.update(owners)
        return owners

    def check_counters(self):
        """What the kernel counted: every data connection at its session's server, none elsewhere, nothing leaked."""
        def landed():
            metrics = self.daemon.metrics()
            return {name: metrics.sum(DATA, server=name, result="landed") for name in self.expected}

        poll(lambda: all(landed()[name] >= self.expected[name] for name in self.expected), what=lambda: f"{landed()} ≥ {self.expected}")
        misdirected = self.daemon.metrics().sum(DATA, result="misdirected")
        if misdirected or self.net.leaked():
            raise Wrong(f"{misdirected:g} data connections misdirected, {self.net.leaked()} packets leaked")
        return landed()

    def stock(self):
        """What the long tasks need: a big file and many small ones, different on every server."""
        for server in self.net.servers:
            block = random.Random(server.name).randbytes(1 << 20)
            with open(server.root / "huge.bin", "wb") as file:
                for number in range(HUGE):
                    file.write(block[:-4] + number.to_bytes(4))
            (server.root / "small").mkdir()
            for number in range(SMALL):
                (server.root / "small" / f"{number:03}.txt").write_text(f"{server.name} {number:03}.txt\n")


# ── tasks: each raises what is wrong and returns how many data connections it must have been


def session(client, job, server):
    job.file("put").write_text(f"{job.upload} of {client}\n")
    getattr(clients, client)(job)
    _expect("control connections", set(job.servers), {server.name})
    _expect("TLS", job.protected, job.tls)
    _expect("data connections", job.modes, [job.mode] * 3)
    _expect("the file", job.file("got").read_text().strip(), server.name)
    listing = job.file("list").read_text()
    _expect("listings", set(re.findall(r"\brs\d+\b", listing)), {server.name})
    if client == "wget":
        # It cannot upload, and follows the listing to a second file.
        return 3
    _expect("the upload", (server.uploads / job.upload).read_bytes(), job.file("put").read_bytes())
    return 3


def huge(client, job, server):
    getattr(clients, f"{client}_get")(job, ["huge.bin"])
    _expect("control connections", set(job.servers), {server.name})
    _expect("data connections", job.modes, [job.mode])
    _expect("SHA-256", _digest(job.file("huge.bin")), _digest(server.root / "huge.bin"))
    return 1


def huge_upload(client, job, server):
    # Sent is what it will get back: its own bytes.
    shutil.copy(server.root / "huge.bin", job.file("put"))
    getattr(clients, client)(job)
    _expect("control connections", set(job.servers), {server.name})
    _expect("SHA-256", _digest(server.uploads / job.upload), _digest(job.file("put")))
    (server.uploads / job.upload).unlink()
    return 3


def abort(client, job, server):
    """Some clients trust no connection after ABOR, or lose patience, and make a new one: then the last server is the right one."""
    getattr(clients, f"{client}_abort")(job, "huge.bin")
    _expect("first control connection", job.servers[0], server.name)
    assert 0 < job.file("part").stat().st_size < HUGE << 20, "nothing was aborted"
    assert re.search("ABOR|abort", job.words), "no ABOR"
    _expect("the file after it", job.file("got").read_text().strip(), job.servers[-1])
    return 1


def small(client, job, server):
    getattr(clients, f"{client}_get")(job, [f"small/{number:03}.txt" for number in range(SMALL)])
    _expect("control connections", job.servers, [server.name])
    _expect("data connections", set(job.modes), {job.mode})
    _expect("files", collections.Counter(_owner(path) for path in job.directory.glob("[0-9]*.txt")), {server.name: SMALL})
    return SMALL


TASKS = {"session": session, "huge": huge, "huge upload": huge_upload, "abort": abort, "small": small}


def _expect(what, found, wanted):
    if found != wanted:
        raise Wrong(f"{what}: {found}, not {wanted}")


def _owner(path):
    """Whose file this is; its name is in it."""
    owner, name = path.read_text().split()
    _expect("a file's name", name, path.name)
    return owner


def _digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ── every cell of a part


def run(part):
    forwarding, protection = part.split("-")
    subprocess.run(["modprobe", "-a", *MODULES.split()], check=True)
    started = time.monotonic()
    failed = []

    def out(line):
        # In one piece: cells are tried at the same time, and `print` writes the line's end by itself.
        print(line + "\n", end="", flush=True)

    def say(kind, **values):
        out("matrix: " + json.dumps({"kind": kind, **values}, ensure_ascii=False))

    def report(cell, wrong, seconds):
        out(f"{'WRONG' if wrong else 'right'} {seconds:5.1f} s {' '.join(str(value) for value in asdict(cell).values())}")
        say("cell", wrong=wrong, **asdict(cell))

    with Grid(forwarding, tls=protection == "tls", report=report) as grid:
        grid.try_all(sessions(forwarding, grid.tls))
        if not grid.tls:
            grid.stock()
            for task in ("small", "abort", "huge", "huge upload"):
                grid.try_all(cell for cell in long_tasks(forwarding) if cell.task == task)
            for mode in ("PASV", "EPSV", "PORT"):
                owners = wrong = None
                try:
                    owners = grid.mirror(mode)
                except AssertionError as error:
                    wrong = str(error)
                    failed.append(wrong)
                out(f"mirror {mode}: {wrong or owners}")
                say("mirror", forwarding=forwarding, mode=mode, wrong=wrong)
        try:
            landed = grid.check_counters()
        except AssertionError as error:
            failed.append(str(error))
        else:
            say("counters", part=part, landed=int(sum(landed.values())))
        failed += grid.wrong
    for text in failed:
        out(f"WRONG {text}")
    out(f"matrix {part}: {len(failed)} wrong, {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1]))
