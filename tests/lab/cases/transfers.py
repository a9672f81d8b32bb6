"""How every transfer ended: what the director counts and logs is what the clients were told."""

import collections
import contextlib
import ftplib
import json
import subprocess
import threading

from ftpload import MODES, Session
from hosts import poll
from selection import long
from topology import Topology

TOTAL = "ftpdirector_transfers_total"
LABELS = ("server", "verb", "mode", "outcome")
# A passive data connection that never comes is waited for no longer than this.
VSFTPD = "accept_timeout=1\n"
LOG = "log: {transfers: true}\n"


@long
def test_nat_a_thousand_of_which_a_tenth_fails():
    with Topology("nat", servers=2, vsftpd=VSFTPD) as net, full_disks(net.servers):
        daemon = net.start_daemon(net.config() + LOG).wait_ready()
        told = crowd(net.client1, net.vip, sessions=8, each=130)
        assert told.total() == 1040
        failed = collections.Counter(code for (*_, code), count in told.items() for _ in range(count) if code >= 400)
        assert failed.total() == 104 and {425, 426, 451, 550, 553} == set(failed), failed
        wanted = outcomes(told)
        poll(lambda: counted(daemon) == wanted, what=lambda: f"the clients' count {wanted}\nas the director's {counted(daemon)}")
        poll(lambda: len(logged(daemon)) == 1040, what=lambda: f"1040 lines, not {len(logged(daemon))}")
        lines = logged(daemon)
        assert collections.Counter(tuple(line[label] for label in LABELS) for line in lines) == wanted
        assert collections.Counter((*(line[label] for label in LABELS[:3]), line["code"]) for line in lines) == told
        assert not any({"user", "path"} & set(line) for line in lines), "names are not wanted"
        assert {line["client"].rpartition(":")[0] for line in lines} == {net.client1.address}
        took_its_time(daemon, lines)


def test_nat_a_few_of_each_kind():
    """The same, short; and no count goes back while a server leaves the file and returns."""
    with Topology("nat", servers=2, vsftpd=VSFTPD) as net, full_disks(net.servers):
        daemon = net.start_daemon().wait_ready()
        wanted = outcomes(crowd(net.client1, net.vip, sessions=2, each=50))
        assert len({outcome for *_, outcome in wanted}) == 5, wanted
        poll(lambda: counted(daemon) == wanted, what=lambda: f"the clients' count {wanted}\nas the director's {counted(daemon)}")
        both = daemon.config.read_text()
        for config in ([line for line in both.splitlines() if "rs2" not in line], both.splitlines()):
            reload(net, daemon, "\n".join(config) + "\n")
            assert counted(daemon) == wanted
        assert logged(daemon) == [], "nobody asked for a log"


def test_dr_what_cannot_be_known_is_said():
    with Topology("dr", servers=2, vsftpd=VSFTPD) as net, full_disks(net.servers):
        daemon = net.start_daemon(net.config() + LOG).wait_ready()
        told = crowd(net.client1, net.vip, sessions=2, each=30)
        wanted = collections.Counter()
        for (server, verb, mode, _), count in told.items():
            wanted[server, verb, mode, "unknown"] += count
        poll(lambda: counted(daemon) == wanted, what=lambda: f"{wanted}\nas the director's {counted(daemon)}")
        poll(lambda: len(logged(daemon)) == 60, what="a line for each")
        assert {(line["outcome"], line["code"], line["seconds"]) for line in logged(daemon)} == {("unknown", None, None)}
        metrics = daemon.metrics()
        assert metrics.sum("ftpdirector_transfer_seconds_count") == 0
        # What the kernel knows instead.
        assert metrics.sum("ftpdirector_data_connections_total", result="landed") > 40, metrics
        page = net.director.run(["curl", "-s", "http://127.0.0.1:9786/metrics"]).stdout
        help_text = next(line for line in page.splitlines() if line.startswith(f"# HELP {TOTAL} "))
        assert all(word in help_text for word in ("DR", "TUN", "TLS", "unknown", "ftpdirector_expectations_total")), help_text


def test_names_are_logged_where_they_are_wanted():
    with Topology("nat", servers=1) as net:
        daemon = net.start_daemon(net.config() + "log: {transfers: true, names: true}\n").wait_ready()
        hostile = 'a"\x1b[2J\x9b\u202e'
        with net.client1.enter():
            session = Session(net.vip)
            session.fetch(session.announce("EPSV"), "names/server.txt")
            with contextlib.suppress(ftplib.error_perm):
                session.fetch(session.announce("EPSV"), hostile)
            session.close()
        poll(lambda: len(logged(daemon)) == 2, what=daemon.log)
        assert [(line["user"], line["path"]) for line in logged(daemon)] == [("anonymous", "names/server.txt"), ("anonymous", hostile)]
        written = "".join(line for line in daemon.log().splitlines() if line.startswith("{"))
        assert written.isascii() and written.isprintable(), written
        # ftplib's password for anonymous users.
        assert "anonymous@" not in daemon.log()


def crowd(client, vip, sessions, each):
    """So many sessions at once, of so many transfers each: how often each (server, verb, mode, code) was told."""
    told = [[] for _ in range(sessions)]
    with client.enter():
        opened = [Session(vip, timeout=60.0) for _ in range(sessions)]
        work = [threading.Thread(target=transfers, args=job, daemon=True) for job in zip(range(sessions), opened, [each] * sessions, told)]
        for thread in work:
            thread.start()
    for thread in work:
        thread.join()
    assert [len(of) for of in told] == [each] * sessions, [len(of) for of in told]
    return collections.Counter(one for of in told for one in of)


def transfers(number, session, count, told):
    """One transfer after the other; every tenth is made to fail, in one way after the other."""
    for index in range(count):
        name = f"{number}-{index}"
        if index % 10 == 9:
            way = FAILING[(index // 10 + number) % len(FAILING)]
            verb, mode, reply = way(session, name, index // 10)
        else:
            mode = MODES[index % 4]
            verb, reply = succeed(session, mode, index // 4, name)
        told.append((session.server, verb, "passive" if mode in ("PASV", "EPSV") else "active", int(reply[:3])))
    session.quit()


def succeed(session, mode, turn, name):
    verb = ("RETR", "NLST", "STOR", "LIST")[turn % 4]
    path = {"RETR": "server.txt", "STOR": f"upload/{name}"}.get(verb, "names")
    with session.data(session.announce(mode), f"{verb} {path}") as data:
        if verb == "STOR":
            data.sendall(name.encode())
        else:
            while data.recv(65536):
                pass
    return verb, session.voidresp()


def missing(session, _, turn):
    """No such file: 550."""
    mode = MODES[turn % 4]
    return "RETR", mode, refusal(session, mode, "RETR nowhere")


def forbidden(session, name, turn):
    """No permission to write there: 553."""
    mode = MODES[turn % 4]
    return "STOR", mode, refusal(session, mode, f"STOR {name}")


def refusal(session, mode, command):
    try:
        with session.data(session.announce(mode), command):
            raise AssertionError(f"{command} was not refused")
    except ftplib.Error as error:
        return str(error)


def unreachable(session, _, turn):
    """A data connection that is not made: the client's port is closed, or the client does not come. 425, after 150 or at once."""
    if turn % 2:
        mode = "EPSV"
        session.sendcmd("EPSV")
    else:
        mode = "PORT"
        session.announce("PORT").listener.close()
    try:
        reply = session.sendcmd("RETR server.txt")
        return "RETR", mode, final(session) if reply.startswith("1") else reply
    except ftplib.error_temp as error:
        return "RETR", mode, str(error)


def aborted(session, _, turn):
    """The client has seen enough: 426. Every other time it says ABOR too."""
    with session.data(session.announce("EPSV"), "RETR big.bin") as data:
        data.recv(1000)
    if turn % 2:
        return "RETR", "EPSV", final(session)
    session.putcmd("ABOR")
    reply = final(session)
    # One reply or two, before that of the NOOP.
    session.putcmd("NOOP")
    while not session.getmultiline().startswith("200"):
        pass
    return "RETR", "EPSV", reply


def full(session, name, turn):
    """The server's disk is full: 451."""
    mode = ("EPSV", "EPRT")[turn % 2]
    # The server hangs up before it has taken all.
    with contextlib.suppress(ConnectionError), session.data(session.announce(mode), f"STOR full/{name}") as data:
        data.sendall(bytes(1 << 20))
    return "STOR", mode, final(session)


FAILING = (missing, forbidden, unreachable, aborted, full)


def final(session):
    """The next final reply, good or bad."""
    return session.getmultiline()


@contextlib.contextmanager
def full_disks(servers):
    """A directory for uploads with hardly any room, on each server."""
    places = [server.root / "full" for server in servers]
    with contextlib.ExitStack() as mounts:
        for place in places:
            place.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "lab", place], check=True)
            mounts.callback(subprocess.run, ["umount", "--lazy", place], check=True)
        yield


def outcomes(told):
    """What the director should make of the codes."""
    of = {425: "no_data_connection", 426: "aborted", 451: "server_error", 550: "refused", 553: "refused"}
    wanted = collections.Counter()
    for (server, verb, mode, code), count in told.items():
        wanted[server, verb, mode, of.get(code, "complete" if code < 300 else code)] += count
    return wanted


def counted(daemon):
    """What the director has counted, without the zeroes."""
    found = collections.Counter()
    for (name, labels), value in daemon.metrics().items():
        if name == TOTAL and value:
            labels = dict(labels)
            assert labels["cluster"] == "lab" and len(labels) == 5, labels
            found[tuple(labels[label] for label in LABELS)] += int(value)
    return found


def logged(daemon):
    """The lines of the transfer log that are complete; the daemon's own are no JSON."""
    return [json.loads(line) for line in daemon.log().splitlines() if line.startswith("{") and line.endswith("}")]


def took_its_time(daemon, lines):
    """From the first packet of the data connection to the final reply, where there was one: of nearly all that were complete."""
    timed = [line for line in lines if line["seconds"] is not None]
    assert daemon.metrics().sum("ftpdirector_transfer_seconds_count") == len(timed)
    complete = [line for line in lines if line["outcome"] == "complete"]
    missed = [line for line in complete if line["seconds"] is None]
    assert len(missed) < len(complete) / 10, f"{len(missed)} of {len(complete)} without a time"
    assert all(0 <= line["seconds"] < 60 for line in timed), timed
    assert all(line["seconds"] is None for line in lines if line["outcome"] == "no_data_connection")


def reload(net, daemon, config):
    before = daemon.log().count("reloaded")
    daemon.config.write_text(config)
    net.director.run(["kill", "-HUP", str(daemon.process.pid)])
    poll(lambda: daemon.log().count("reloaded") > before, what=daemon.log)
