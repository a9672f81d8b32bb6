"""Certificates of an authority of the lab's own, with openssl."""

import datetime
import subprocess
from pathlib import Path

EC = ["-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]

# The least that `openssl ca` takes: of all its commands it alone knows any beginning and end in every version.
CONFIG = """\
[ca]
default_ca=lab
[lab]
database={folder}/issued
new_certs_dir={folder}
certificate={folder}/ca.pem
private_key={folder}/ca.key
rand_serial=yes
default_md=sha256
policy=any
unique_subject=no
x509_extensions=server
[any]
commonName=supplied
[server]
basicConstraints=CA:FALSE
"""


class Authority:
    """`ca` is the file with its certificate."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ca = self.folder / "ca.pem"
        (self.folder / "issued").touch()
        (self.folder / "config").write_text(CONFIG.format(folder=folder))
        _openssl("req", "-x509", "-days", "3650", "-subj", "/CN=lab authority", *EC, "-keyout", self.folder / "ca.key", "-out", self.ca)

    def certificate(self, name, ends):
        """A file with a key and a certificate that ends on a day of a year; it began in 2020."""
        key, request, signed, both = (self.folder / f"{name}.{ending}" for ending in ("key", "csr", "crt", "pem"))
        _openssl("req", "-new", "-subj", f"/CN={name}", *EC, "-keyout", key, "-out", request)
        times = ["-startdate", "20200101000000Z", "-enddate", f"{ends:%Y%m%d%H%M%SZ}"]
        _openssl("ca", "-batch", "-notext", "-config", self.folder / "config", *times, "-in", request, "-out", signed)
        both.write_text(key.read_text() + signed.read_text())
        return both


def day(year, month, number):
    """Midnight of a day."""
    return datetime.datetime(year, month, number, tzinfo=datetime.timezone.utc)


def _openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
