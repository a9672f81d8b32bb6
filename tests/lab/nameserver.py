"""A name server on the director."""

import contextlib
import socket
import struct
import threading
from pathlib import Path


class NameServer:
    """Answers every question for an IPv4 address with one record, or with a failure."""

    def __init__(self, director):
        self.address = None
        self.ttl = 1
        with director.enter():
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.bind(("127.0.0.1", 53))
        self.socket.settimeout(0.2)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def close(self):
        """Not under a thread that waits at it: the socket would live on, and with it the director's namespace."""
        self.over.set()
        self.thread.join()
        self.socket.close()

    def _serve(self):
        while not self.over.is_set():
            with contextlib.suppress(TimeoutError):
                query, client = self.socket.recvfrom(4096)
                self.socket.sendto(self._answer(query), client)

    def _answer(self, query):
        """RFC 1035 §4: the header, the question as it came, the answer (its name points at the question's)."""
        question = query[12 : query.index(0, 12) + 5]
        if self.address is None:
            return query[:2] + struct.pack("!HHHHH", 0x8182, 1, 0, 0, 0) + question
        record = struct.pack("!HHHIH", 0xC00C, 1, 1, self.ttl, 4) + socket.inet_aton(self.address)
        return query[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + question + record


@contextlib.contextmanager
def written(path, text):
    """A file of the guest with this text, for a while."""
    path = Path(path)
    before = path.read_bytes() if path.exists() else None
    path.unlink(missing_ok=True)
    path.write_text(text)
    try:
        yield
    finally:
        path.unlink()
        if before is not None:
            path.write_bytes(before)


@contextlib.contextmanager
def name_server(director):
    """A name server that the director's /etc/resolv.conf names."""
    server = NameServer(director)
    try:
        with written("/etc/resolv.conf", "nameserver 127.0.0.1\n"):
            yield server
    finally:
        server.close()
