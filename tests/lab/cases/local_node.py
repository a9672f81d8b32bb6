"""A director that is a real server too: its FTP server has a network namespace of its own on the director."""

import json
import socket
import subprocess
import urllib.error
import urllib.request

from daemon import config_file, ftpdirector
from ftpload import MODES, Session, load, session_at
from hosts import poll
from pair import both
from realserver import RealServer
from selection import long
from topology import VIP, Topology

DATA = "ftpdirector_data_connections_total"


@long
def test_dr_with_a_server_on_board():
    on_board("dr")


def test_nat_with_a_server_on_board():
    on_board("nat")


@long
def test_tun_with_a_server_on_board():
    on_board("tun")


@long
def test_ipv6_with_a_server_on_board():
    on_board("dr", ipv6=True)


def on_board(forwarding, ipv6=False):
    """Every server gets its sessions, and every data connection comes to its session's server."""
    with Topology(forwarding, housed=True) as net:
        daemon = net.start_daemon(net.config(ipv6=ipv6)).wait_ready()
        names = {server.name for server in net.servers}
        for client in net.clients:
            report = load(client, net.vip6 if ipv6 else net.vip, sessions=6, rounds=1, modes=("EPSV", "EPRT") if ipv6 else MODES)
            assert report.right == report.total == (12 if ipv6 else 24), report
            assert set(report.sessions_per_server) == names, report
        assert_all_landed(daemon, 24 if ipv6 else 48)
        assert net.leaked() == 0
        assert not fatal(net.director, net), fatal(net.director, net)


@long
def test_nat_behind_a_cable_of_its_own():
    """NAT needs no bridge: the director is the router of the server on board."""
    with Topology("nat", servers=2) as net:
        server = RealServer("lodger", "10.9.0.2", "fd00:9::2", (34000, 34999))
        net.servers.append(server)
        net.hosts.append(server)
        subprocess.run(["ip", "netns", "add", server.name], check=True)
        net.director.ip(
            "link add lodger type veth peer name eth0 netns lodger",
            "address add 10.9.0.1/30 dev lodger",
            "link set lodger up",
        )
        server.ip("link set lo up", "link set eth0 up", "address add 10.9.0.2/30 dev eth0", "route add default via 10.9.0.1")
        server.start()
        server.wait_ready()
        daemon = net.start_daemon().wait_ready()
        report = load(net.client1, net.vip, sessions=6, rounds=1)
        assert report.right == report.total == 24, report
        assert report.sessions_per_server == {"lodger": 2, "rs1": 2, "rs2": 2}, report
        assert_all_landed(daemon, 24)
        assert not fatal(net.director, net), fatal(net.director, net)


@long
def test_nobody_reaches_it_round_ipvs():
    """Without services clients get no answer, from the server on board no more than from any other; live sessions go on."""
    with Topology("dr", housed=True) as net:
        daemon = net.start_daemon().wait_ready()
        with net.client1.enter():
            session = session_at(net.vip, "rs1")
            daemon.kill9()
            services = net.director.run(["ipvsadm", "-Sn"]).stdout
            net.director.run(["ipvsadm", "-C"])
            for port in (21, net.servers[0].passive_ports[0]):
                try:
                    socket.create_connection((net.vip, port), timeout=3).close()
                    raise AssertionError(f"port {port} of the VIP answers")
                except TimeoutError:
                    pass
            session.sock.sendall(b"NOOP\r\n")
            net.director.run(["ipvsadm", "-R"], input=services)
            assert session.getresp().startswith("200")


@long
def test_two_directors_with_a_server_each():
    """The master sends to the server on the other director, whose IPVS is not asked again."""
    with Topology("dr", servers=2, pair=True, housed=True) as net:
        first, second = housed_pair(net)
        report = load(net.client1, net.vip, sessions=6, rounds=1)
        assert report.right == report.total == 24, report
        assert report.sessions_per_server == {"rs1": 3, "rs2": 3}, report
        assert_all_landed(first, 24)
        assert packets_of_services(net.directors[1]) == 0
        assert not fatal(net.director, net), fatal(net.director, net)


@long
def test_rules_for_bridged_packets():
    """br_netfilter on the backup: its rules drop what the master sends to the server on board. The doctor says so, and its cure helps."""
    with Topology("dr", servers=2, pair=True, housed=True) as net:
        housed_pair(net)
        backup = net.directors[1]
        subprocess.run(["modprobe", "br_netfilter"], check=True)
        try:
            with net.client1.enter():
                session = session_at(net.vip, "rs2")
                session.timeout = 4
                opening = session.announce("EPSV")
                try:
                    opening().close()
                    raise AssertionError("the data connection came through")
                except TimeoutError:
                    pass
            (found,) = warnings(backup, net, "bridge")
            assert "bridge-nf-call-iptables = 1" in found["evidence"] and "10.0.0.12" in found["evidence"], found
            backup.run(["sh", "-ec", "\n".join(line for line in found["cure"].splitlines() if not line.startswith("("))])
            assert not warnings(backup, net, "bridge")
            with net.client1.enter():
                for mode in MODES:
                    assert session.fetch(session.announce(mode)).decode().strip() == "rs2", mode
        finally:
            subprocess.run(["modprobe", "-r", "br_netfilter"], check=True)


@long
def test_dr_pair_with_a_server_each():
    pair_loses_its_master("dr")


@long
def test_nat_pair_with_a_server_each():
    pair_loses_its_master("nat")


def pair_loses_its_master(forwarding):
    """The sessions at the server of the director that is left go on, and new ones go there."""
    with Topology(forwarding, servers=2, pair=True, housed=True) as net:
        first, second = both(net)
        with net.client1.enter():
            session = session_at(net.vip, "rs2")
            for mode in MODES:
                assert session.fetch(session.announce(mode)).decode().strip() == "rs2", mode
        poll(lambda: second.knows(session.sock), what="the connection at the backup")
        first.dies()
        poll(second.is_master, what=second.log)
        with net.client1.enter():
            for mode in MODES:
                assert session.fetch(session.announce(mode)).decode().strip() == "rs2", mode
        poll(lambda: second.daemon.metrics().sum("ftpdirector_server_up", server="rs1") == 0, what="rs1 known to be down")
        report = load(net.client1, net.vip, sessions=6, rounds=1)
        assert report.right == report.total == 24 and report.sessions_per_server == {"rs2": 6}, report
        assert second.daemon.metrics().sum(DATA, result="misdirected") == 0


@long
def test_an_own_address_is_refused():
    """The server in the director's own network: IPVS leaves its packets to the local stack. Said at the start, by `plan`, by the
    doctor, at a reload, and when the address comes later."""
    for forwarding in ("nat", "dr"):
        with Topology(forwarding, servers=2) as net:
            good = net.config()
            bad = good.replace(net.servers[1].address, net.director.address)
            path = config_file(bad)
            for command in ("run", "plan"):
                done = ftpdirector(net.director, command, "--config", path)
                assert done.returncode == 69 and refused(done.stderr), f"{command}: {done.returncode}\n{done.stderr}"
            assert net.director.run(["nft", "list", "ruleset"]).stdout == "", "it changed the ruleset"
            (found,) = fatal(net.director, net, path)
            assert found["check"] == "routes" and "network namespace" in found["cure"], found

            daemon = net.start_daemon(good).wait_ready()
            daemon.config.write_text(bad)
            done = ftpdirector(net.director, "reload", "--config", daemon.config)
            assert done.returncode == 1 and refused(done.stdout + done.stderr), f"{done.returncode}\n{done.stdout}{done.stderr}"
            daemon.config.write_text(good)
            assert readiness(net.director) is None
            net.director.ip(f"address add {net.servers[1].address}/32 dev lo")
            poll(lambda: refused(readiness(net.director) or ""), what=lambda: f"{readiness(net.director)}\n{daemon.log()}")
            net.director.ip(f"address delete {net.servers[1].address}/32 dev lo")
            poll(lambda: readiness(net.director) is None, what=lambda: readiness(net.director))


def refused(said):
    return "this is an address of this machine" in said and "SERVERS.md" in said


def readiness(director):
    """What /readyz complains of; nothing when all is well."""
    try:
        with director.enter(), urllib.request.urlopen("http://127.0.0.1:9786/readyz", timeout=30):
            return None
    except urllib.error.HTTPError as error:
        return error.read().decode()


def assert_all_landed(daemon, number):
    poll(lambda: daemon.metrics().sum(DATA, result="landed") >= number, what=lambda: daemon.metrics())
    assert daemon.metrics().sum(DATA, result="misdirected") == 0, daemon.metrics()


def doctor(director, net, path=None):
    done = ftpdirector(director, "doctor", "--json", "--config", path or config_file(net.config()))
    return [json.loads(line) for line in done.stdout.splitlines()]


def fatal(director, net, path=None):
    return [found for found in doctor(director, net, path) if found["severity"] == "fatal"]


def warnings(director, net, check):
    return [found for found in doctor(director, net) if found["check"] == check and found["severity"] == "warning"]


def housed_pair(net):
    """Daemons on both directors; the first has the VIP."""
    net.directors[0].ip(f"address add {VIP}/32 dev eth0")
    daemons = []
    for director in net.directors:
        config = net.config() + f"admin: {{socket: /run/ftpdirector/{director.name}.sock}}\n"
        daemons.append(net.start_daemon(config, director=director))
    return [daemon.wait_ready() for daemon in daemons]


def packets_of_services(director):
    """Packets that IPVS took there."""
    lines = director.run(["ipvsadm", "-Ln", "--stats", "--exact"]).stdout.splitlines()
    return sum(int(line.split()[3]) for line in lines if line.startswith(("TCP", "FWM")))
