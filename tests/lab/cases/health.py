"""Servers are checked the way a client uses them: a failed server gets no new sessions, and its live ones go on."""

import ftplib
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

from certificates import Authority, day
from daemon import ftpdirector
from ftpload import MODES, Session, load
from hosts import poll
from selection import long
from topology import Topology, VIP

# Three failures in a row of half a second each, with time enough for a server under emulation to answer.
CHECK = "interval: 500ms, timeout: 3s"
UP = "ftpdirector_server_up"
WEIGHT = "ftpdirector_server_weight"
SECONDS = "ftpdirector_health_check_seconds"
EXPIRY = "ftpdirector_server_certificate_expiry_seconds"
UNREADABLE = "ftpdirector_health_check_file_unreadable"
ENDS = day(2150, 6, 1)


def test_nat_a_killed_server_is_taken_out_and_comes_back():
    a_killed_server_is_taken_out_and_comes_back("nat")


@long
def test_dr_a_killed_server_is_taken_out_and_comes_back():
    a_killed_server_is_taken_out_and_comes_back("dr")


def a_killed_server_is_taken_out_and_comes_back(forwarding):
    with Topology(forwarding) as net:
        daemon = net.start_daemon(checked(net)).wait_ready()
        wait_up(daemon, 3)
        doomed = net.servers[0]
        kill(doomed)
        poll(lambda: weights(net)[doomed.address] == 0, what=f"weight 0 of {doomed.name}")
        assert daemon.metrics().sum(UP, server=doomed.name) == 0
        assert daemon.metrics().sum(WEIGHT, server=doomed.name) == 0
        assert any("connect" in line and "refused" in line for line in warnings(daemon, doomed)), daemon.log()
        report = load(net.client1, net.vip, sessions=6, rounds=1)
        assert report.right == report.total == 24, report
        assert report.sessions_per_server == {"rs2": 3, "rs3": 3}, report

        revive(doomed)
        poll(lambda: weights(net)[doomed.address] == 1, what=f"the weight of {doomed.name} back")
        assert daemon.metrics().sum(UP) == 3
        report = load(net.client1, net.vip, sessions=6, rounds=1)
        assert report.sessions_per_server == {"rs1": 2, "rs2": 2, "rs3": 2}, report
        assert daemon.metrics().sum("ftpdirector_kernel_drift_total") == 0, daemon.log()


def test_a_server_that_is_down_stays_out_over_a_restart():
    """No new session goes to it before its first good probe; that alone brings it back."""
    with Topology("nat") as net:
        daemon = net.start_daemon(checked(net)).wait_ready()
        wait_up(daemon, 3)
        doomed = net.servers[0]
        kill(doomed)
        poll(lambda: weights(net)[doomed.address] == 0, what=f"weight 0 of {doomed.name}")
        daemon.kill9()
        daemon = net.start_daemon(checked(net)).wait_ready()
        report = load(net.client1, net.vip, sessions=4, rounds=1)
        assert report.right == report.total == 16, report
        assert report.sessions_per_server == {"rs2": 2, "rs3": 2}, report
        assert "-w 1" not in "".join(line for line in daemon.log().splitlines() if doomed.address in line), daemon.log()
        revive(doomed)
        poll(lambda: weights(net)[doomed.address] == 1, what=f"the weight of {doomed.name} back")
        assert daemon.metrics().sum("ftpdirector_kernel_drift_total") == 0, daemon.log()


def test_nat_live_sessions_of_a_failed_server_go_on():
    live_sessions_of_a_failed_server_go_on("nat")


@long
def test_dr_live_sessions_of_a_failed_server_go_on():
    live_sessions_of_a_failed_server_go_on("dr")


def live_sessions_of_a_failed_server_go_on(forwarding):
    """With new data connections in every mode: the server refuses new control connections and keeps those it has."""
    with Topology(forwarding) as net:
        daemon = net.start_daemon(checked(net)).wait_ready()
        wait_up(daemon, 3)
        with net.client1.enter():
            session = Session(net.vip)
        failed = next(server for server in net.servers if server.name == session.server)
        failed.nft("""
            table inet firewall {
              chain input { type filter hook input priority 0
                tcp dport 21 tcp flags & (syn | ack) == syn reject with tcp reset
              }
            }""")
        poll(lambda: weights(net)[failed.address] == 0, what=f"weight 0 of {failed.name}")
        with net.client1.enter():
            for mode in MODES:
                assert session.fetch(session.announce(mode)).decode().strip() == failed.name, mode


def test_transfer_names_a_firewalled_passive_range():
    """The login works and the data connection does not: only a probe that transfers sees it."""
    with Topology("dr") as net:
        daemon = net.start_daemon(checked(net, "kind: transfer")).wait_ready()
        wait_up(daemon, 3)
        steps = {dict(labels)["step"] for (name, labels) in daemon.metrics() if name == SECONDS}
        assert steps == TRANSFER_STEPS, steps
        deaf = net.servers[1]
        firewall(deaf)
        poll(lambda: weights(net)[deaf.address] == 0, what=f"weight 0 of {deaf.name}")
        said = warnings(daemon, deaf)
        assert any("pasv_connect" in line and "no data connection to port 32" in line for line in said), daemon.log()
        assert all(weights(net)[server.address] == 1 for server in net.servers if server is not deaf)
        deaf.run(["nft", "delete", "table", "inet", "firewall"])
        poll(lambda: weights(net)[deaf.address] == 1, what=f"the weight of {deaf.name} back")


def test_transfer_names_a_port_outside_of_the_declared_range():
    """Nothing is firewalled, and the probe could connect: it is the director that would let no client in."""
    with Topology("dr") as net:
        other = net.servers[1]
        low, high = other.passive_ports
        config = checked(net, "kind: transfer").replace(f"passive_ports: {low}-{high}", "passive_ports: 42000-42999")
        daemon = net.start_daemon(config).wait_ready()
        poll(lambda: weights(net)[other.address] == 0, what=f"weight 0 of {other.name}")
        said = warnings(daemon, other)
        assert any("pasv" in line and "outside passive_ports 42000-42999" in line for line in said), daemon.log()
        assert all(weights(net)[server.address] == 1 for server in net.servers if server is not other)


def test_banner_does_not_see_a_firewalled_passive_range():
    with Topology("dr") as net:
        daemon = net.start_daemon(checked(net)).wait_ready()
        deaf = net.servers[1]
        firewall(deaf)
        # What is counted after the firewall is up: ten banners more, each of them good.
        wait_up(daemon, 3)
        before = accepted(deaf)
        poll(lambda: accepted(deaf) >= before + 10, what="ten more probes")
        assert daemon.metrics().sum(UP, server=deaf.name) == 1
        assert weights(net)[deaf.address] == 1


@long
def test_tls_names_a_certificate_a_passive_range_and_a_password():
    """vsftpd and ProFTPD as they come: a data connection must resume the TLS session."""
    with secure("dr", kinds=("vsftpd", "proftpd", "vsftpd")) as (net, authority, folder):
        expired, deaf, strict = net.servers
        passwords, password = folder / "passwords", folder / "password"
        passwords.write_text("sesame\n")
        password.write_text("sesame\n")
        # Anonymous users need one of these passwords.
        strict.extra += f"no_anon_password=NO\nsecure_email_list_enable=YES\nemail_password_file={passwords}\n"
        restart(strict)
        keys = f"kind: transfer, tls: explicit, ca_file: {authority.ca}, password_file: {password}"
        daemon = net.start_daemon(checked(net, keys)).wait_ready()
        wait_up(daemon, 3)
        for server in net.servers:
            steps = {dict(labels)["step"] for (name, labels) in daemon.metrics() if name == SECONDS and ("server", server.name) in labels}
            assert steps - {"password"} == TRANSFER_STEPS | SECURE_STEPS, (server.name, steps)
            assert daemon.metrics().sum(EXPIRY, server=server.name) == ENDS.timestamp(), server.name

        authority.certificate(expired.name, day(2026, 2, 1))
        restart(expired)
        firewall(deaf)
        passwords.write_text("open sesame\n")
        poll(lambda: daemon.metrics().sum(UP) == 0, what="three servers down")
        for server, words in (
            (expired, ["certificate", "certificate expired on 2026-02-01"]),
            (deaf, ["pasv_connect", "no data connection to port 32"]),
            (strict, ["password", "530 Login incorrect"]),
        ):
            # A server that starts again was perhaps down before it could be asked: the log says so once.
            step, error = words
            told = lambda: [line for line in status(net, daemon).splitlines() if f"{server.name}: health check: {step}: " in line]
            poll(lambda: any(error in line for line in told()), what=lambda: f"{words}: {status(net, daemon)}")
        assert daemon.metrics().sum(EXPIRY, server=expired.name) == day(2026, 2, 1).timestamp()
        assert "sesame" not in daemon.log(), daemon.log()


def test_tls_a_password_file_that_is_gone_is_told():
    with secure("nat", servers=1) as (net, authority, folder):
        password = folder / "password"
        password.write_text("sesame\n")
        keys = f"kind: login, tls: explicit, ca_file: {authority.ca}, password_file: {password}"
        daemon = net.start_daemon(checked(net, keys)).wait_ready()
        wait_up(daemon, 1)
        assert daemon.metrics().sum(UNREADABLE) == 0
        password.unlink()
        poll(lambda: daemon.metrics().sum(UNREADABLE, server="rs1") == 1, what="the metric")
        assert daemon.metrics().sum(UP) == 1
        assert any(f"password_file {password}: No such file" in line for line in warnings(daemon, net.servers[0])), daemon.log()


def test_tls_port_990_needs_no_word():
    """The check begins TLS, and the certificate is looked at."""
    with secure("dr", servers=1, vsftpd="implicit_ssl=YES\nlisten_port=990\n") as (net, authority, _):
        config = net.config(more=["ports: [990]"])
        daemon = net.start_daemon(config).wait_ready()
        # The lab's authority is none of the system's, and a guest may have none at all.
        poll(lambda: "health check: certificate: " in status(net, daemon), what="a look at the certificate")
        assert "the system's authorities" in status(net, daemon), status(net, daemon)
        reload(daemon, net.config(more=["ports: [990]", f"health_check: {{kind: transfer, ca_file: {authority.ca}, {CHECK}}}"]), 1)
        poll(lambda: "health check: " not in status(net, daemon), what="a good check")
        assert daemon.metrics().sum(EXPIRY, server="rs1") == ENDS.timestamp()


def test_all_down_sorry_server():
    """One that is in no cluster takes over, and leaves when a server is back."""
    with Topology("nat", servers=3) as net:
        *ours, sorry = net.servers
        text = checked(net, more=[f"sorry_server: {sorry.address}"], servers=ours)
        daemon = net.start_daemon(text).wait_ready()
        wait_up(daemon, 2)
        assert sorry.address not in weights(net)
        for server in ours:
            kill(server)
        poll(lambda: weights(net).get(sorry.address) == 1, what="the sorry server")
        assert [weights(net)[server.address] for server in ours] == [0, 0]
        assert banner(net) == sorry.name
        revive(ours[0])
        poll(lambda: weights(net)[ours[0].address] == 1, what="the first server back")
        poll(lambda: weights(net).get(sorry.address, 0) == 0, what="the sorry server's leave")
        assert banner(net) == ours[0].name
        assert daemon.metrics().sum("ftpdirector_kernel_drift_total") == 0, daemon.log()


def test_all_down_keep():
    """Sent to whoever was last known: it refuses by itself, or the health check was wrong."""
    with Topology("nat", servers=2) as net:
        daemon = net.start_daemon(checked(net)).wait_ready()
        wait_up(daemon, 2)
        for server in net.servers:
            kill(server)
        poll(lambda: daemon.metrics().sum(UP) == 0, what="both servers down")
        poll(lambda: weights(net) == {server.address: 1 for server in net.servers}, what="both weights kept")
        revive(net.servers[0])
        poll(lambda: weights(net) == {"10.0.0.11": 1, "10.0.0.12": 0}, what="the weight of the one that is back")
        assert banner(net) == "rs1"


def test_all_down_reject():
    with Topology("nat", servers=2) as net:
        daemon = net.start_daemon(checked(net, more=["no_servers: reject"])).wait_ready()
        wait_up(daemon, 2)
        for server in net.servers:
            kill(server)
        poll(lambda: weights(net) == {server.address: 0 for server in net.servers}, what="both weights 0")
        try:
            banner(net)
            raise AssertionError("a session was accepted")
        except OSError:
            pass
        revive(net.servers[1])
        poll(lambda: weights(net) == {"10.0.0.11": 0, "10.0.0.12": 1}, what="the weight of the one that is back")
        assert banner(net) == "rs2"


def test_reload_keeps_who_is_down():
    """And a reload that ends the checks gives everyone his weight."""
    with Topology("nat", servers=2) as net:
        daemon = net.start_daemon(checked(net)).wait_ready()
        wait_up(daemon, 2)
        kill(net.servers[0])
        poll(lambda: weights(net) == {"10.0.0.11": 0, "10.0.0.12": 1}, what="weight 0")
        reload(daemon, checked(net, "kind: login"), 1)
        assert weights(net) == {"10.0.0.11": 0, "10.0.0.12": 1}
        reload(daemon, checked(net, "kind: none"), 2)
        assert weights(net) == {"10.0.0.11": 1, "10.0.0.12": 1}
        assert daemon.metrics().sum(UP) == 0


# The servers ask nobody for a password.
TRANSFER_STEPS = {
    *("connect", "banner", "user", "quit"),
    *("pasv", "pasv_connect", "pasv_transfer", "epsv", "epsv_connect", "epsv_transfer"),
}


SECURE_STEPS = {"auth", "tls", "certificate", "pbsz", "prot"}


@contextmanager
def secure(forwarding, **options):
    """A topology whose servers have certificates of an authority, which end in 2150; and the folder for more files."""
    folder = Path("/run/secure")
    authority = Authority(folder)
    net = Topology(forwarding, **options)
    for server in net.servers:
        server.certificate, server.must_resume = authority.certificate(server.name, ENDS), True
    try:
        with net:
            yield net, authority, folder
    finally:
        shutil.rmtree(folder)


def restart(server):
    server.kill()
    server.start()
    server.wait_ready()


def status(net, daemon):
    return ftpdirector(net.director, "status", "--config", daemon.config).stdout


def checked(net, check="kind: banner", more=(), servers=None):
    """The topology's configuration with health checks, for all of its servers or some."""
    text = net.config(more=[f"health_check: {{{check}, {CHECK}}}", *more])
    if servers is None:
        return text
    others = [f"name: {server.name}," for server in net.servers if server not in servers]
    return "\n".join(line for line in text.splitlines() if not any(other in line for other in others)) + "\n"


def wait_up(daemon, count):
    """Waits until every server has passed a probe: a server nobody has looked at has no steps to show."""
    poll(lambda: daemon.metrics().sum(UP) == count and probed(daemon) == count, what=f"{count} servers probed and up")


def probed(daemon):
    return sum(1 for (name, labels) in daemon.metrics() if name == SECONDS and ("step", "connect") in labels)


def weights(net):
    """The weights in the service of the VIP, by the servers' addresses."""
    found = {}
    for words in map(str.split, net.director.run(["ipvsadm", "-Sn"]).stdout.splitlines()):
        if words[:3] == ["-a", "-t", f"{VIP}:21"]:
            found[words[words.index("-r") + 1].rsplit(":", 1)[0]] = int(words[words.index("-w") + 1])
    return found


def warnings(daemon, server):
    return [line for line in daemon.log().splitlines() if "WARN" in line and server.name in line]


def banner(net):
    """Who answers at the VIP. Raises OSError where nobody does."""
    with net.client1.enter(), ftplib.FTP(timeout=5) as control:
        return control.connect(net.vip, 21).split()[1]


def kill(server):
    server.kill()


def revive(server):
    server.start()


def firewall(server):
    """What every second administrator does: the control port is open, the passive range is not."""
    low, high = server.passive_ports
    server.nft(f"""
        table inet firewall {{
          chain input {{ type filter hook input priority 0
            tcp dport {low}-{high} drop
          }}
        }}""")


def accepted(server):
    """Connections that the server's kernel has accepted."""
    with server.enter():
        lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(values[names.index("PassiveOpens")])


def reload(daemon, text, times):
    """Gives the daemon another file; returns when it has taken it `times` times altogether."""
    daemon.config.write_text(text)
    daemon.process.send_signal(signal.SIGHUP)
    poll(lambda: daemon.log().count("reloaded") >= times, what="the reload")
