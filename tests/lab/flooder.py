"""A client that sends as fast as it can, and what it sends. (flood.c does the sending.)"""

import itertools
import struct
import subprocess
import tempfile
from pathlib import Path

from rawtcp import ACK, PSH, SYN, ends, numbers, segment

BINARY = "/repo/target/lab/bin/flood"
# As many as go out in one system call.
BATCH = 64
PORTS = range(1024, 21024)

_names = itertools.count(1)


class Flood:
    """Packets from a host, again and again: for so many seconds (0: once), so many a second (0: as fast as it can)."""

    def __init__(self, host, packets, seconds, pace=0, advance=0):
        self.path = Path(tempfile.gettempdir(), f"flood-{next(_names)}")
        self.path.write_bytes(b"".join(struct.pack("!H", len(packet)) + packet for packet in packets))
        command = [BINARY, self.path, seconds, pace, advance]
        self.process = host.popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.sent = self.rate = None

    def over(self, within=0):
        """Whether it has ended by then, seconds from now."""
        try:
            said, _ = self.process.communicate(timeout=within)
        except subprocess.TimeoutExpired:
            return False
        assert self.process.returncode == 0, said
        self.path.unlink()
        sent, seconds = said.split()
        self.sent, self.rate = int(sent), int(sent) / float(seconds)
        return True


def stream(sock, payload):
    """Segments of one connection, each the next. Returns them, and by how much they move on."""
    seq, ack = numbers(sock)
    packets = [segment(*ends(sock), PSH | ACK, seq + n * len(payload), ack, payload) for n in range(BATCH)]
    return packets, BATCH * len(payload)


def syns(source, target):
    """One SYN from each of a client's 20,000 ports."""
    return [segment((source, port), target, SYN) for port in PORTS]


def tls_connections(source, target, first=b"\x16\x03"):
    """As many new connections, each with the beginning of a TLS record."""
    for port in PORTS:
        yield segment((source, port), target, SYN)
        yield segment((source, port), target, PSH | ACK, seq=1001, payload=first)
