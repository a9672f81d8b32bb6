"""The director as others build it, to be measured beside ours. Each is a function of a network whose servers run already: it sets
the director up and returns the address that clients connect to."""

import subprocess

from hosts import poll
from topology import IPVSADM_FLAG

NGINX = """\
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
worker_processes 2;
# A transfer takes four of them, and a port of a range one.
worker_rlimit_nofile 65536;
pid /run/nginx.pid;
error_log /run/nginx.log;
events {{ worker_connections 16384; }}
stream {{
  upstream control {{ {control} }}
  server {{ listen {vip}:21; proxy_pass control; }}
  {data}
}}
"""

PROFTPD = """\
ModulePath /usr/lib/proftpd
LoadModule mod_xfer.c
LoadModule mod_ls.c
LoadModule mod_tls.c
LoadModule mod_proxy.c
ServerType standalone
DefaultAddress {vip}
DefaultServer on
Port 21
User proxy
Group nogroup
MaxInstances none
PidFile /run/mod_proxy.pid
ScoreboardFile /run/mod_proxy/scoreboard
SystemLog /run/mod_proxy/log
TransferLog none
WtmpLog off
UseReverseDNS off
ProxyEngine on
ProxyTables /run/mod_proxy/tables
ProxyRole reverse
ProxyReverseConnectPolicy RoundRobin
ProxyReverseServers {servers}
"""


def router_only(net):
    """Nobody balances: clients reach a real server through the director, which only forwards."""
    net.router.nft("delete table inet router")
    net.router.ip(*(f"route add {server.address}/32 via {net.director.address}" for server in net.servers))
    return net.servers[0].address


def ip_vs_ftp(net):
    """The kernel's helper (NAT)."""
    subprocess.run(["modprobe", "ip_vs_ftp"], check=True)
    net.plain_ipvs()
    return net.vip


def recipe(net):
    """Red Hat's: one mark for port 21 and every passive port, and who came once comes back to the same server."""
    low, high = net.servers[0].passive_ports[0], net.servers[-1].passive_ports[1]
    net.director.nft(f"""
        table ip plain {{
          chain prerouting {{ type filter hook prerouting priority -150
            ip daddr {net.vip} tcp dport {{ 20, 21, {low}-{high} }} meta mark set 1
          }}
        }}""")
    flag = IPVSADM_FLAG[net.forwarding]
    net.ipvs("-A -f 1 -s rr -p 300", *(f"-a -f 1 -r {server.address}:0 {flag}" for server in net.servers))
    return net.vip


def nginx(net):
    """A proxy that knows no FTP: a passive port belongs to the server whose range it is in. Nobody is called."""
    advertise_vip(net)
    control = " ".join(f"server {server.address}:21;" for server in net.servers)
    data = "\n  ".join(
        f"server {{ listen {net.vip}:{low}-{high}; proxy_pass {server.address}:$server_port; }}"
        for server in net.servers
        for low, high in [server.passive_ports]
    )
    # The ports of the ranges are opened by the master process.
    command = ["prlimit", "--nofile=65536", "nginx", "-g", "daemon off;"]
    start(net, "nginx", command, NGINX.format(vip=net.vip, control=control, data=data), "-c")
    return net.vip


def mod_proxy(net):
    """ProFTPD as a reverse proxy, which knows FTP: a process for each session."""
    servers = " ".join(f"ftp://{server.address}:21" for server in net.servers)
    subprocess.run(["install", "-d", "/run/mod_proxy"], check=True)
    subprocess.run(["install", "-d", "-o", "proxy", "/run/mod_proxy/tables"], check=True)
    start(net, "proftpd", ["proftpd", "--nodaemon"], PROFTPD.format(vip=net.vip, servers=servers), "--config")
    return net.vip


def ours(net):
    net.start_daemon().wait_ready()
    return net.vip


def rules_only(net):
    """Ours when the daemon has left: its rules and services stay, and nobody reads. What is missing from this to ours is what reading in
    user space costs; what is missing from here to the others would stay if the kernel read the commands itself."""
    if net.forwarding == "nat":
        advertise_vip(net)
    net.start_daemon().wait_ready().term()
    return net.vip


def advertise_vip(net):
    """Nobody rewrites a 227: the servers name the VIP themselves."""
    for server in net.servers:
        server.kill()
        server.advertise = net.vip
        server.start()
        server.wait_ready()


def start(net, name, command, config, option):
    """Starts a program on the director, and waits until it listens at the VIP."""
    path = f"/run/{name}.conf"
    with open(path, "w") as file:
        file.write(config)
    program = net.director.popen([*command, option, path])

    def listens():
        assert program.poll() is None, f"{name} ended with {program.returncode}"
        return ":21 " in net.director.run(["ss", "-tlnH"]).stdout

    poll(listens, what=f"{name} at {net.vip}")
