"""The FTP servers of the lab: each kind writes its configuration and says how it is started.

All listen on both families, name their real server in the banner (`220 rs1 ready`), and let anonymous users read everything.
"""

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


def vsftpd(server):
    """Tries ten random ports of its range for a PASV, then says `500 OOPS: vsf_sysutil_bind`: give it many."""
    low, high = server.passive_ports
    text = VSFTPD.format(name=server.name, root=server.root, low=low, high=high)
    return ["vsftpd", _write(server, "config", text + server.extra)]


def pyftpdlib(server):
    """One process. Tries every port of its range."""
    low, high = server.passive_ports
    return ["python3", "/repo/tests/lab/pyftpd.py", server.name, server.root, low, high]


KINDS = {"vsftpd": vsftpd, "pyftpdlib": pyftpdlib}


def _write(server, name, text):
    path = server.files / name
    path.write_text(text)
    return path
