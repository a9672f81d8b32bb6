"""A real server: an FTP server of one kind in its own namespace."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

from ftpservers import START, VSFTPD_TLS
from hosts import Host, poll

BIG = 10 * 1024 * 1024

CERTIFICATE = Path("/run/servers/tls.pem")
# What makes vsftpd speak TLS.
TLS = VSFTPD_TLS.format(certificate=CERTIFICATE)


def make_certificate():
    """One for all servers; small, because the guest is slow."""
    path = CERTIFICATE
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        name = ["-x509", "-nodes", "-days", "2", "-subj", "/CN=lab"]
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        output = ["-keyout", path, "-out", path.with_suffix(".crt")]
        subprocess.run(["openssl", "req", *name, *key, *output], check=True, capture_output=True)
        path.write_text(path.read_text() + path.with_suffix(".crt").read_text())


class RealServer(Host):
    """Serves `server.txt` (its own name) and `big.bin` (10 MiB) to anonymous users."""

    def __init__(self, name, address, address6, passive_ports, kind="vsftpd", extra=""):
        """`kind` is one of ftpservers.START; `extra` goes into its configuration."""
        super().__init__(name, address, address6)
        self.passive_ports, self.kind, self.extra = passive_ports, kind, extra
        self.files = Path("/run/servers", name)
        self.root = self.files / "srv"
        self.uploads = self.root / "upload"
        self.port = int(extra.split("listen_port=")[1].split()[0]) if "listen_port=" in extra else 21
        # Its TLS certificate, the address that it names in a 227 instead of its own, the port of its active connections.
        self.certificate = self.advertise = None
        # Under TLS a data connection must resume the session of the control connection.
        self.must_resume = False
        self.active_port = 20
        self.process = None

    @property
    def calls_from_any_port(self):
        """pyftpdlib always, Pure-FTPd when 20 is taken."""
        return self.kind.startswith(("pyftpdlib", "pure"))

    def start(self):
        if not self.root.exists():
            self.root.mkdir(parents=True)
            (self.root / "server.txt").write_text(f"{self.name}\n")
            (self.root / "big.bin").touch()
            os.truncate(self.root / "big.bin", BIG)
            self.uploads.mkdir()
            self.uploads.chmod(0o777)
            names = self.root / "names"
            names.mkdir()
            (names / "server.txt").write_text(f"{self.name}\n")
            (names / self.name).touch()
        with open(self.files / "said", "a") as said:
            self.process = self.popen(START[self.kind](self), stdout=said, stderr=said)

    def wait_ready(self):
        def answers():
            try:
                with socket.create_connection((self.address, self.port), timeout=5) as control:
                    # Under implicit TLS the client speaks first.
                    return self.port == 990 or control.recv(100)
            except ConnectionRefusedError:
                said = self.files.joinpath("said").read_text
                assert self.process.poll() is None, f"{self.name}: {self.kind} ended:\n{said()}"
                return None

        with self.enter():
            poll(answers, what=f"{self.kind} on {self.name} answering")

    def kill(self):
        """Kills the server; its sessions, if they have processes of their own, go on."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process is not None:
            self.kill()
        shutil.rmtree(self.files, ignore_errors=True)
