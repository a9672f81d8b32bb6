"""A real server: Debian's vsftpd in its own namespace."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

from hosts import Host, poll

BIG = 10 * 1024 * 1024

# Debian's defaults otherwise; one connection of a client more or less is not for the server to refuse.
VSFTPD = """\
listen=NO
listen_ipv6=YES
anonymous_enable=YES
local_enable=NO
no_anon_password=YES
anon_root={root}
connect_from_port_20=YES
port_enable=YES
pasv_enable=YES
pasv_promiscuous={promiscuous}
pasv_min_port={low}
pasv_max_port={high}
ftpd_banner={name} ready
max_clients=0
max_per_ip=0
xferlog_enable=NO
secure_chroot_dir=/run/vsftpd/empty
# A process and network namespace of its own for every session is vsftpd's default, and slow under emulation.
isolate=NO
isolate_network=NO
# An active connection that nobody accepts: the next command is heard after this many seconds.
connect_timeout=10
"""


# What makes it speak TLS; a client that resumes no session is welcome too.
TLS = """\
ssl_enable=YES
allow_anon_ssl=YES
require_ssl_reuse=NO
rsa_cert_file=/run/servers/tls.pem
"""


def make_certificate():
    """One for all servers; small, because the guest is slow."""
    path = Path("/run/servers/tls.pem")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        name = ["-x509", "-nodes", "-days", "2", "-subj", "/CN=lab"]
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        output = ["-keyout", path, "-out", path.with_suffix(".crt")]
        subprocess.run(["openssl", "req", *name, *key, *output], check=True, capture_output=True)
        path.write_text(path.read_text() + path.with_suffix(".crt").read_text())


class RealServer(Host):
    """Serves `server.txt` (its own name) and `big.bin` (10 MiB) to anonymous users."""

    def __init__(self, name, address, address6, passive_ports):
        super().__init__(name, address, address6)
        self.passive_ports = passive_ports
        self.files = Path("/run/servers", name)
        self.port = 21
        self.vsftpd = None

    def start_vsftpd(self, promiscuous="NO", extra=""):
        root = self.files / "srv"
        root.mkdir(parents=True)
        (root / "server.txt").write_text(f"{self.name}\n")
        (root / "big.bin").touch()
        os.truncate(root / "big.bin", BIG)
        low, high = self.passive_ports
        config = self.files / "vsftpd.conf"
        if "listen_port=" in extra:
            self.port = int(extra.split("listen_port=")[1].split()[0])
        text = VSFTPD.format(name=self.name, root=root, low=low, high=high, promiscuous=promiscuous)
        config.write_text(text + extra)
        self.vsftpd = self.popen(["vsftpd", config])

    def wait_ready(self):
        def answers():
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as control:
                    # Under implicit TLS the client speaks first.
                    return self.port == 990 or control.recv(100)
            except ConnectionRefusedError:
                assert self.vsftpd.poll() is None, f"{self.name}: vsftpd ended with {self.vsftpd.returncode}"
                return None

        with self.enter():
            poll(answers, what=f"vsftpd on {self.name} answering")

    def stop(self):
        if self.vsftpd is not None:
            self.vsftpd.kill()
            self.vsftpd.wait()
        shutil.rmtree(self.files, ignore_errors=True)
