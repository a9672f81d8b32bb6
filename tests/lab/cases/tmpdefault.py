import ftplib, os, select, shutil, socket, subprocess, sys, time, traceback
from pathlib import Path
from hosts import poll
from topology import Topology, VIP
from ftpload import Session, load

PROFTPD = """\
ModulePath /usr/lib/proftpd
LoadModule mod_xfer.c
LoadModule mod_ls.c
ServerType standalone
ServerName lab
DefaultServer on
Port 21
User proxy
Group nogroup
MaxInstances none
AuthOrder mod_auth_unix.c
PidFile /tmp/pid
ScoreboardFile /tmp/scoreboard
SystemLog /tmp/log
TransferLog none
WtmpLog off
UseReverseDNS off
<Anonymous /srv/ftp>
  User ftp
  Group nogroup
  UserAlias anonymous ftp
  RequireValidShell off
  MaxClients none
</Anonymous>
"""

def who(name, command):
    server = subprocess.Popen(command, stdout=sys.stdout, stderr=sys.stdout)
    try:
        def up():
            try:
                socket.create_connection(("127.0.0.1", 21), 5).close(); return True
            except OSError:
                return False
        poll(up, what="up", deadline=20)
        port = 45678
        control = socket.socket(); control.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        control.bind(("127.0.0.2", port)); control.settimeout(15); control.connect(("127.0.0.1", 21))
        listeners = []
        for p in (port, port - 1):
            s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.2", p)); s.listen(1); listeners.append(s)
        f = control.makefile("rw", newline="\r\n")
        print(name, f.readline().strip())
        for line in ("USER anonymous", "PASS x@y", "TYPE I"):
            f.write(line + "\n"); f.flush()
            while True:
                r = f.readline()
                print(name, r.strip())
                if r[3:4] == " ": break
        f.write("RETR server.txt\n"); f.flush()
        ready, _, _ = select.select([*listeners, control], [], [], 15)
        for r in ready:
            if r is control: print(name, "SAYS", f.readline().strip())
            else: print(name, "CONNECTS to", r.getsockname(), "from", r.accept()[1])
        ready, _, _ = select.select([*listeners, control], [], [], 5)
        for r in ready:
            if r is control: print(name, "SAYS", f.readline().strip())
            else: print(name, "CONNECTS to", r.getsockname(), "from", r.accept()[1])
        for s in [*listeners, control]: s.close()
    except Exception:
        traceback.print_exc(file=sys.stdout)
    finally:
        server.kill(); server.wait()
        subprocess.run(["pkill", "-9", "-x", "proftpd|pure-ftpd"])

def test_who():
    Path("/srv/ftp").mkdir(parents=True, exist_ok=True)
    Path("/srv/ftp/server.txt").write_text("x\n")
    Path("/tmp/pro.conf").write_text(PROFTPD)
    who("proftpd", ["proftpd", "--nodaemon", "--config", "/tmp/pro.conf"])
    who("pureftpd", ["pure-ftpd", "-e", "-H", "-M", "-u", "1"])
    code = "from pyftpdlib.handlers import FTPHandler as H\nfrom pyftpdlib.authorizers import DummyAuthorizer as D\nfrom pyftpdlib.servers import FTPServer\nH.authorizer=D(); H.authorizer.add_anonymous('/srv/ftp')\nFTPServer(('0.0.0.0',21),H).serve_forever()"
    who("pyftpdlib", ["python3", "-c", code])

def test_dialled():
    with Topology("nat", servers=2) as net:
        net.director.ip("link add wan0 type dummy", "link set wan0 up", "address add 10.0.0.150/32 dev wan0")
        net.director.nft("table ip nat { chain pre { type nat hook prerouting priority dstnat; ip daddr 10.0.0.150 tcp dport { 21, 31000-32999 } dnat to 10.0.0.100; } }")
        daemon = net.start_daemon(net.config(["passive: {advertise: {interface: wan0}}"])).wait_ready()
        for conntrack in (0, 1):
            net.director.sysctl(ipv4__vs__conntrack=conntrack)
            print("conntrack", conntrack, load(net.client1, "10.0.0.150", sessions=4, rounds=1, modes=("PASV", "EPSV", "PORT"), timeout=8.0))
            print(daemon.metrics().sum("ftpdirector_data_connections_total"))
