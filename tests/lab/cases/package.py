"""What an administrator installs: the Debian package under a real systemd, and Prometheus beside it."""

from pathlib import Path

from daemon import METRICS, Metrics
from ftpload import load
from hosts import poll
from systemd import Systemd
from topology import Topology

CONFIG = Path("/etc/ftpdirector/config.yaml")
DATA = "ftpdirector_data_connections_total"
CAP_NET_ADMIN, CAP_NET_RAW = 1 << 12, 1 << 13
READY = METRICS.replace("/metrics", "/readyz")
NOTIFY = ["sh", "/repo/deploy/keepalived/notify", "INSTANCE", "ftp", "MASTER", "100"]


def metrics(net):
    return Metrics(net.director.run(["curl", "--silent", "--fail", METRICS]).stdout)


def test_package():
    package = Path("/repo/target/lab/ftpdirector.deb")
    with Topology("nat") as net:
        systemd = Systemd(net.director)
        try:
            whole_life(net, systemd, package)
        except BaseException:
            print(systemd.says("systemctl", "status", "--no-pager", "--full", "ftpdirector"))
            print(systemd.says("journalctl", "--no-pager", "--lines", "40"))
            raise


def whole_life(net, systemd, package):
    systemd.run("dpkg", "--install", package)
    assert systemd.property("ActiveState") == "inactive", "the cluster of the example must not be started"

    CONFIG.write_text(net.config())
    systemd.run("systemctl", "start", "ftpdirector")
    first = systemd.handed_on()
    assert systemd.property("User") == "ftpdirector"
    assert systemd.status_of_daemon("Uid") != "0"
    for capabilities in ("CapEff", "CapPrm", "CapBnd"):
        assert int(systemd.status_of_daemon(capabilities), 16) == CAP_NET_ADMIN | CAP_NET_RAW, capabilities
    assert systemd.status_of_daemon("Seccomp") == "2"
    works(net)
    # As this user it sees the queue.
    assert net.director.run(["curl", "--silent", READY]).stdout == "ready\n"

    # A bad file is refused where the administrator sees it, and changes nothing.
    CONFIG.write_text("clusters: []\n")
    assert systemd.run("systemctl", "reload", "ftpdirector", check=False).returncode != 0
    works(net)
    CONFIG.write_text(net.config())

    # What keepalived calls on the director that becomes master: all is well, or is made well.
    before = systemd.property("MainPID")
    systemd.run(*NOTIFY)
    assert systemd.property("MainPID") == before
    systemd.run("systemctl", "stop", "ftpdirector")
    net.director.run(["ipvsadm", "-C"])
    systemd.run(*NOTIFY)
    assert systemd.property("ActiveState") == "active" and systemd.property("MainPID") != before
    assert "TCP" in net.director.run(["ipvsadm", "-Ln"]).stdout

    # Reload, restart and upgrade: nobody notices.
    CONFIG.write_text(net.config().replace("scheduler: rr", "scheduler: wrr"))
    systemd.run("systemctl", "reload", "ftpdirector")
    poll(lambda: "wrr" in net.director.run(["ipvsadm", "-Ln"]).stdout, what="the new scheduler")
    systemd.run("systemctl", "restart", "ftpdirector")
    works(net)
    assert systemd.handed_on() == first + 1
    before = systemd.property("MainPID")
    systemd.run("dpkg", "--install", "--force-confold", package)
    assert systemd.property("ActiveState") == "active" and systemd.property("MainPID") != before
    works(net)
    assert systemd.property("NRestarts") == "0" and systemd.handed_on() == first + 2

    # Removed, nothing of it is left in the kernel.
    systemd.run("dpkg", "--remove", "ftpdirector")
    assert "TCP" not in net.director.run(["ipvsadm", "-Ln"]).stdout
    assert net.director.run(["nft", "list", "tables"]).stdout == ""
    systemd.run("dpkg", "--purge", "ftpdirector")
    assert not CONFIG.exists()


def works(net):
    report = load(net.client1, net.vip)
    assert report.right == report.total == 240, report
    assert metrics(net).sum(DATA, result="misdirected") == 0


def test_prometheus_reads_us():
    """What we serve. What we alert on needs no director: tests/deploy."""
    with Topology("nat") as net:
        net.start_daemon().wait_ready()
        load(net.client1, net.vip, rounds=1)
        text = net.director.run(["curl", "--silent", "--fail", METRICS]).stdout
        checked = net.director.run(["promtool", "check", "metrics"], input=text, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr
