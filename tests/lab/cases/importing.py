"""From another program's set-up to ours: what `import` writes is run as it is, with the servers as they are."""

import ipaddress

from daemon import config_file, ftpdirector
from ftpload import load
from hosts import poll
from topology import RANGES, VIP, Topology

EVEN = {"rs1": 10, "rs2": 10, "rs3": 10}
DATA = "ftpdirector_data_connections_total"


def imported(net, *files, text=None):
    """Imports files, or a text from standard input; returns the configuration, which `check` accepts."""
    done = ftpdirector(net.director, "import", *(files or ["-"]), input=text)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr}"
    checked = ftpdirector(net.director, "check", "--config", config_file(done.stdout))
    assert checked.returncode == 0, f"{checked.stdout}{checked.stderr}\n{done.stdout}"
    return done.stdout


def test_ipvsadm_nat():
    """VIP:21 balanced by hand, in NAT: nothing about passive ports is known, and nothing has to be."""
    with Topology("nat") as net:
        net.plain_ipvs()
        config = imported(net, text=net.director.run(["ipvsadm", "-S", "-n"]).stdout)
        assert "forwarding: nat" in config and "# passive_ports: 31000-31999" in config, config
        # What the result says to delete.
        net.director.run(["ipvsadm", "-D", "-t", f"{VIP}:21"])
        daemon = net.start_daemon(config).wait_ready()
        report = load(net.client1, net.vip)
        assert report.right == report.total == 240, report
        assert report.sessions_per_server == EVEN, report
        assert net.leaked() == 0
        poll(lambda: daemon.metrics().sum(DATA, result="landed") >= 240, what="240 data connections counted as landed")
        assert daemon.metrics().sum(DATA, result="misdirected") == 0


def keepalived_conf(net, key, more=""):
    servers = "".join(
        f"    real_server {server.address} 21 {{\n        weight 1\n        TCP_CHECK {{\n            connect_timeout 3\n        }}\n    }}\n"
        for server in net.servers
    )
    settings = f"    delay_loop 5\n    lb_algo rr\n    lb_kind DR\n    protocol TCP\n{more}"
    return f"! Lab\nvirtual_server {key} {{\n{settings}{servers}}}\n"


def test_keepalived_dr():
    """Direct routing needs a range for each server. Those that are proposed are those of the lab's servers."""
    with Topology("dr") as net:
        config = imported(net, text=keepalived_conf(net, f"{VIP} 21", "    persistence_timeout 300\n"))
        for first, last in RANGES["disjoint"][: len(net.servers)]:
            assert f"passive_ports: {first}-{last}" in config, config
        daemon = net.start_daemon(config).wait_ready()
        report = load(net.client1, net.vip)
        assert report.right == report.total == 240, report
        # Persistence is left out: one client is spread over all servers.
        assert report.sessions_per_server == EVEN, report
        assert daemon.metrics().sum(DATA, result="misdirected") == 0


def test_red_hat_recipe():
    """A mark for port 21 and one range of all servers, with persistence: ours works the same way until the servers are changed."""
    with Topology("dr", ranges="shared") as net:
        first, last = RANGES["shared"][0]
        rules = f"""
            table inet recipe {{
              chain prerouting {{ type filter hook prerouting priority mangle
                ip daddr {VIP} tcp dport {{ 21, {first}-{last} }} meta mark set 21
              }}
            }}"""
        net.director.nft(rules)
        ruleset = net.director.run(["nft", "list", "table", "inet", "recipe"]).stdout
        files = net.servers[0].files
        files.mkdir(parents=True, exist_ok=True)
        (files / "keepalived.conf").write_text(keepalived_conf(net, "fwmark 21", "    persistence_timeout 300\n"))
        (files / "marks.nft").write_text(ruleset)
        config = imported(net, files / "keepalived.conf", files / "marks.nft")
        assert "persistence: 300s" in config and f"ports: {first}-{last}" in config, config
        assert f"- {ipaddress.ip_address(VIP)}" in config, config
        # What the result says to delete.
        net.director.run(["nft", "delete", "table", "inet", "recipe"])
        net.start_daemon(config).wait_ready()
        with_one_client = load(net.client1, net.vip, sessions=6, rounds=1, modes=("PASV", "EPSV"))
        assert with_one_client.right == with_one_client.total == 12, with_one_client
        assert len(with_one_client.sessions_per_server) == 1, with_one_client
