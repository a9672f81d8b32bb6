"""The FTP servers of the lab: each kind writes its configuration and says how it is started.

All listen on both families, name their real server in the banner (`220 rs1 ready`), and let anonymous users read everything and
write below `upload`. Some are only unpacked in the guest: what their packages would have set up is made here.
"""

# Debian's defaults otherwise; one connection of a client more or less is not for the server to refuse.
VSFTPD = """\
listen_ipv6=YES
anonymous_enable=YES
local_enable=NO
no_anon_password=YES
anon_root={root}
write_enable=YES
anon_upload_enable=YES
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

# On an IPv6 socket it says 0,0,0,0 for an address that it is given.
VSFTPD_ADVERTISES = """\
listen=YES
listen_ipv6=NO
listen_address={address}
pasv_address={advertise}
"""

# A client that resumes no session is welcome too.
VSFTPD_TLS = """\
ssl_enable=YES
allow_anon_ssl=YES
require_ssl_reuse=NO
rsa_cert_file={certificate}
"""

# … or not, which is vsftpd's default, and ProFTPD's without the option. Of two lines vsftpd follows the later one.
VSFTPD_RESUME = "require_ssl_reuse=YES\n"
PROFTPD_RESUME_OR_NOT = "TLSOptions NoSessionReuseRequired\n"

PROFTPD = """\
ModulePath /usr/lib/proftpd
LoadModule mod_xfer.c
LoadModule mod_ls.c
ServerType standalone
ServerName lab
ServerIdent on "{name} ready"
DefaultAddress {address}
DefaultServer on
Port 21
UseIPv6 on
User proxy
Group nogroup
MaxInstances none
PassivePorts {low} {high}
AuthOrder mod_auth_unix.c
PidFile {files}/pid
ScoreboardFile {files}/scoreboard
SystemLog {files}/log
TransferLog none
WtmpLog off
UseReverseDNS off
# Or it gives up root with an anonymous login, and with it the active port: it would call from any.
RootRevoke off
{more}
<Anonymous {root}>
  User ftp
  Group nogroup
  UserAlias anonymous ftp
  RequireValidShell off
  MaxClients none
</Anonymous>
"""

PROFTPD_TLS = """\
LoadModule mod_tls.c
TLSEngine on
TLSECCertificateFile {certificate}
TLSECCertificateKeyFile {certificate}
TLSLog {files}/log
"""


def vsftpd(server):
    """Tries ten random ports of its range for a PASV, then says `500 OOPS: vsf_sysutil_bind`: give it many."""
    low, high = server.passive_ports
    text = VSFTPD.format(name=server.name, root=server.root, low=low, high=high)
    if server.certificate:
        text += VSFTPD_TLS.format(certificate=server.certificate)
        text += VSFTPD_RESUME if server.must_resume else ""
    if server.active_port != 20:
        text += f"ftp_data_port={server.active_port}\n"
    if not server.advertise:
        return ["vsftpd", _write(server, "config", text + server.extra)]
    both = _write(server, "config", text + f"listen_address6={server.address6}\n")
    ipv4 = _write(server, "ipv4", text + VSFTPD_ADVERTISES.format(address=server.address, advertise=server.advertise))
    return ["sh", "-c", f"vsftpd {ipv4} & exec vsftpd {both}"]


def proftpd(server):
    """Its banner, its port range and its active port (control port − 1) are like vsftpd's; tries every port of its range."""
    low, high = server.passive_ports
    more = PROFTPD_TLS.format(certificate=server.certificate, files=server.files) if server.certificate else ""
    if server.certificate and not server.must_resume:
        more += PROFTPD_RESUME_OR_NOT
    if server.advertise:
        more += f"MasqueradeAddress {server.advertise}\n"
    text = PROFTPD.format(name=server.name, address=server.address, root=server.root, files=server.files, low=low, high=high, more=more)
    return ["proftpd", "--nodaemon", "--config", _write(server, "config", text)]


def pureftpd(server):
    """The name is the second line of its banner. Anonymous users get the home of `ftp`, so every server needs its own there."""
    low, high = server.passive_ports
    cookie = _write(server, "cookie", f"{server.name} ready\n")
    command = ["pure-ftpd", "-e", "-H", "-M", "-u", "1", "-c", "1000", "-C", "1000", "-F", cookie, "-p", f"{low}:{high}"]
    if server.certificate:
        command += ["-Y", "1", "-2", server.certificate]
    if server.advertise:
        command += ["-P", server.advertise]
    mount = f"mount --bind {server.root} /srv/ftp && exec \"$@\""
    return ["unshare", "--mount", "sh", "-c", mount, "sh", *command]


def pyftpdlib(server):
    """A process for each session: in one process, a session in active mode was seen to make others deaf (2.0.1, no director
    between). Connects in the active modes before it says 200."""
    return _pyftpdlib(server, "MultiprocessFTPServer")


def pyftpdlib_alone(server):
    """One process. Tries every port of its range, and no other process tries the same one at the same time."""
    return _pyftpdlib(server, "FTPServer")


def _pyftpdlib(server, kind):
    low, high = server.passive_ports
    words = ["python3", "/repo/tests/lab/pyftpd.py", kind, server.name, server.root, low, high]
    return [*words, server.advertise or "", server.certificate or ""]


def slow(server):
    """Slow on demand, and with other habits of servers that Debian has not."""
    low, high = server.passive_ports
    return ["python3", "/repo/tests/lab/slow.py", server.name, 21, low, high]


def cheap(server):
    """Costs as little as a server can: for measuring what stands before it."""
    low, high = server.passive_ports
    return ["/repo/target/lab/bin/ftpd", server.name, 21, low, high, server.advertise or "-", server.active_port]


KINDS = {"vsftpd": vsftpd, "proftpd": proftpd, "pureftpd": pureftpd, "pyftpdlib": pyftpdlib}
START = KINDS | {"pyftpdlib alone": pyftpdlib_alone, "slow": slow, "cheap": cheap}


def _write(server, name, text):
    path = server.files / name
    path.write_text(text)
    return path
