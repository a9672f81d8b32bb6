"""`ftpdirector explain`: each verdict is provoked, and what it says is shown.

Not provoked: an MTU that is too small, which nobody at the director can see; `unreadable`, `not_understood`, `running` and `waiting`
are in the unit tests.
"""

import contextlib
import socket
import socketserver
import threading
import time

from admin import ask, ask_json
from ftpload import Session
from hosts import poll
from rawtcp import SYN, segment, send
from selection import long
from topology import Topology

# Of client1, beside its own: the other line of a house with two.
OTHER = "10.1.0.13"
BLOCKED, CALLED = 40010, 50123
PATIENCE = 4


class _Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = daemon_threads = True
    block_on_close = False


class _Session(socketserver.StreamRequestHandler):
    """Answers a verb with what `replies` has for it: a text, or a function of the session that returns one."""

    def handle(self):
        self.listener = None
        self.say("220 ready")
        for line in self.rfile:
            verb, *rest = line.decode("latin-1").split() or [""]
            reply = self.server.replies.get(verb, "500 What?")
            self.say(reply(self, *rest) if callable(reply) else reply)

    def say(self, text):
        with contextlib.suppress(OSError):
            self.wfile.write(f"{text}\r\n".encode("latin-1"))


@contextlib.contextmanager
def scripted(server, replies):
    """Takes over the control port of a real server, as long as the block runs."""
    server.kill()
    with server.enter():
        serving = _Server(("::", server.port), _Session)
        serving.replies = replies
        # Its threads are born where it is.
        threading.Thread(target=serving.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        serving.shutdown()
        serving.server_close()


class Talk:
    """A client of few words."""

    def __init__(self, net, host=None):
        self.net, self.host = net, host or net.client1
        with self.host.enter():
            self.sock = socket.create_connection((net.vip, 21), timeout=20)
        self.sock.recv(100)
        self.end = "{}:{}".format(*self.sock.getsockname())
        self.says("USER anonymous")

    def says(self, line):
        self.tells(line.encode() + b"\r\n")
        return self.sock.recv(4096).decode("latin-1")

    def tells(self, what):
        self.sock.sendall(what)

    def connects(self, port, source=""):
        """Opens a data connection; returns why there is none."""
        with self.host.enter(), socket.socket() as data:
            data.settimeout(1)
            data.bind((source, 0))
            try:
                data.connect((self.net.vip, port))
            except OSError as error:
                return error
        return None


def names(port):
    return f"227 Entering Passive Mode (10,0,0,11,{port >> 8},{port & 255})."


def passive(port, accepts):
    """PASV with a listener behind it; `accepts` says what becomes of the data connection."""

    def pasv(session):
        session.listener = socket.create_server(("", port))
        return names(port)

    def list_(session):
        with session.listener, session.listener.accept()[0]:
            session.say("150 Here it comes")
        return accepts

    return {"PASV": pasv, "LIST": list_}


def calls(source):
    """LIST that calls the client's port from this port of the server's, 0 for any."""

    def list_(session):
        own, *_ = session.connection.getsockname()
        with socket.socket(session.connection.family) as data:
            data.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            data.settimeout(2)
            data.bind((own, source))
            try:
                data.connect((session.client_address[0], CALLED))
            except OSError:
                return "425 Failed to establish connection."
        return "226 Done"

    return list_


def drops(host, hook, port):
    """A firewall that says nothing."""
    chain = f"chain {hook} {{\ntype filter hook {hook} priority -10\ntcp dport {port} drop\n}}"
    host.nft(f"table inet firewall {{\n{chain}\n}}\n")


def expect(daemon, whom, verdict, *parts):
    """Waits for a verdict; shows it."""
    told = {}

    def found():
        told.update(ask_json(daemon, "explain", whom))
        return told["verdict"] == verdict

    poll(found, what=lambda: f"the verdict {verdict}, of {told},")
    print(f"# {told['verdict']}: {told['sentence']}\n#   cure: {told['cure']}")
    for part in parts:
        assert part in told["sentence"] + (told["cure"] or ""), told
    return told


def unexpected(told):
    return [event["text"] for event in told["events"] if event["text"].startswith("unexpected:")]


def test_nat_verdicts():
    replies = {"USER": "230 Welcome", "PORT": "200 I shall", "NOOP": "200 Still here", "AUTH": "234 Go on"}
    failed = {"LIST": "425 Failed to establish connection."}
    with contextlib.ExitStack() as serving, Topology("nat", servers=2, ranges="shared") as net:
        for server in net.servers:
            serving.enter_context(scripted(server, replies))
        net.client1.ip(f"address add {OTHER}/24 dev eth0")
        drops(net.client1, "input", CALLED)
        drops(net.router, "forward", BLOCKED)
        daemon = net.start_daemon(net.config([f"pinhole_timeout: {PATIENCE}s"])).wait_ready()

        def talk(port=None, **more):
            replies.update(failed | ({"PASV": names(port)} if port else {}) | more)
            return Talk(net)

        expect(daemon, "last", "no_failure")
        expect(daemon, net.client2.address, "never_seen", net.client2.address)

        blocked = talk(BLOCKED)
        blocked.says("PASV")
        assert blocked.connects(BLOCKED)
        blocked.says("LIST")
        told = expect(daemon, blocked.end, "no_syn", f"no SYN of {net.client1.address}", "firewall", f"tcp port {BLOCKED}")
        assert told["expected"] == f"a SYN from {net.client1.address} to {net.vip}:{BLOCKED}, within {PATIENCE}.0 s", told
        assert told["came"] == '425 "Failed to establish connection."', told
        assert expect(daemon, "last", "no_syn")["session"] == blocked.end

        other = talk(40011)
        other.says("PASV")
        assert other.connects(40011, OTHER)
        told = expect(daemon, other.end, "other_address", f"came from {OTHER}", "client_match: /24")
        assert told["came"].startswith(f"a SYN from {OTHER}:"), told
        print(ask(daemon, "explain", other.end))

        wrong = talk(40012)
        wrong.says("PASV")
        assert wrong.connects(40013)
        expect(daemon, wrong.end, "wrong_port", "told port 40012", "port 40013")

        undeclared = talk(45000)
        undeclared.says("PASV")
        expect(daemon, undeclared.end, "out_of_range", "named passive port 45000", "40000-40099")

        short = talk(PASV="227 1,1,1,1,156,84")
        short.says("PASV")
        short.says("LIST")
        expect(daemon, short.end, "not_rewritten")

        refused = talk(PASV='500 Not "today"\x1b[31m \x9b')
        refused.says("PASV")
        told = expect(daemon, refused.end, "server_refused", 'refused PASV: 500 "Not \\"today\\".[31m .')
        assert ask(daemon, "explain", refused.end).isascii() and "\x1b" not in ask(daemon, "explain", refused.end)

        missing = talk(40015, LIST="550 No such directory.")
        missing.says("PASV")
        missing.says("LIST")
        expect(daemon, missing.end, "server_refused", 'refused LIST: 550 "No such directory."')

        deaf = talk(40016)
        deaf.says("PASV")
        assert isinstance(deaf.connects(40016), ConnectionRefusedError)
        deaf.says("LIST")
        expect(daemon, deaf.end, "reset", "at port 40016", "425", "ss -ltn")

        broken = talk(**passive(40017, "426 Connection closed; transfer aborted."))
        transfers(broken, 40017)
        expect(daemon, broken.end, "broke_off", '426 "Connection closed; transfer aborted."')

        good = talk(**passive(40018, "226 Done"))
        transfers(good, 40018)
        expect(daemon, good.end, "fine", "1 data connection")

        bounced = talk()
        bounced.says("PORT 10,0,0,99,200,10")
        expect(daemon, bounced.end, "bounce", "PORT named another host", "passive mode")

        own = net.client1.address.replace(".", ",") + f",{CALLED >> 8},{CALLED & 255}"
        uncalled = talk()
        uncalled.says(f"PORT {own}")
        uncalled.says("LIST")
        expect(daemon, uncalled.end, "no_call", "no SYN of lab/rs", "default route")

        unanswered = talk(LIST=calls(20))
        unanswered.says(f"PORT {own}")
        unanswered.says("LIST")
        expect(daemon, unanswered.end, "no_answer", f"called {net.client1.address}:{CALLED}", "passive mode")

        late = talk(40014)
        late.says("PASV")
        expect(daemon, late.end, "no_syn")
        assert late.connects(40014)
        expect(daemon, late.end, "too_late", "pinhole_timeout of cluster lab is 4.0 s")

        hidden = talk()
        hidden.says("AUTH TLS")
        hidden.tells(b"\x16\x03\x01\x00\x05hello")
        expect(daemon, hidden.end, "encrypted", "under TLS", "pasv_address", "require_ssl_reuse")

        flooded(net, daemon, talk(40019))
        assert daemon.term() == 0
        limited_and_down(net, serving, replies)


def transfers(talk, port):
    talk.says("PASV")
    talk.tells(b"LIST\r\n")
    failed = talk.connects(port)
    assert failed is None, failed
    said = ""
    while "226" not in said and "426" not in said:
        said += talk.sock.recv(4096).decode()


def flooded(net, daemon, talk):
    """Of SYNs that nobody expects the daemon is told of a few, of one address and of many."""
    talk.says("PASV")
    began = time.monotonic()
    flood = [segment((net.client1.address, port), (net.vip, 40050), SYN) for port in range(20000, 23000)]
    send(net.client1, *flood)
    told = expect(daemon, talk.end, "wrong_port")
    took = time.monotonic() - began
    count = sum(text.endswith(":40050") for text in unexpected(told))
    print(f"# {len(flood)} unexpected SYNs of one address in {took:.1f} s: told of {count}")
    assert 1 <= count <= 20 + 5 * (took + 1), told
    later = Talk(net)
    later.says("PASV")
    send(net.client1, *(segment((f"10.9.{n >> 8}.{n & 255}", 2000), (net.vip, 40050), SYN) for n in range(1, 5000)))
    later.says("LIST")
    expect(daemon, later.end, "no_syn", "it may be among them")


def limited_and_down(net, serving, replies):
    """A daemon that reads one session of each client, and looks at its servers once a second."""
    check = "health_check: {kind: tcp, interval: 1s, timeout: 1s, rise: 1, fall: 1}"
    daemon = net.start_daemon(net.config([check]) + "limits:\n  client_sessions: 1\n").wait_ready()
    replies["PASV"] = lambda session: time.sleep(300)
    read = Talk(net)
    read.tells(b"PASV\r\n")
    unread = Talk(net)
    expect(daemon, unread.end, "over_limit", "over limits.client_sessions", "its 227 is not rewritten")
    expect(daemon, read.end, "no_reply", "has not named a port within")
    serving.close()
    expect(daemon, read.end, "server_down", "is down: connect")
    expect(daemon, net.client2.address, "no_servers", "lab (2 down, 0 drained)")


@long
def test_dr_verdicts():
    """Where the server's half is not seen."""
    replies = {"USER": "230 Welcome", "PORT": "200 I shall", "NOOP": "200 Still here", "PASV": names(31010)}
    with Topology("dr", servers=1) as net, scripted(net.servers[0], replies):
        net.client1.ip(f"address add {OTHER}/24 dev eth0")
        daemon = net.start_daemon(net.config([f"pinhole_timeout: {PATIENCE}s"])).wait_ready()

        # Which of a client's sessions a data connection is for nobody can tell here: this one alone waits for it.
        lands = Talk(net)
        lands.says("PASV")
        assert isinstance(lands.connects(31011), ConnectionRefusedError)
        expect(daemon, lands.end, "landed", "landed on lab/rs1")

        silent = Talk(net)
        silent.says("PASV")
        told = expect(daemon, silent.end, "no_syn", "no SYN", f"must name the VIP {net.vip}", "portrange 31000-31999")
        assert told["expected"].endswith(f"to {net.vip}, a port of 31000-31999, within {PATIENCE}.0 s"), told

        other = Talk(net)
        other.says("PASV")
        assert other.connects(31010, OTHER)
        expect(daemon, other.end, "other_address", f"came from {OTHER} (probably", "client_match: /24")

        own = net.client1.address.replace(".", ",") + f",{CALLED >> 8},{CALLED & 255}"
        replies["LIST"] = calls(0)
        elsewhere = Talk(net)
        with net.client1.enter():
            listener = socket.create_server((net.client1.address, CALLED))
        elsewhere.says(f"PORT {own}")
        elsewhere.says("LIST")
        told = expect(daemon, elsewhere.end, "other_active_port", "declared to call from 20", "active_port")
        assert told["came"].startswith(f"a SYN-ACK from {net.client1.address}:{CALLED} to {net.vip}:"), told
        listener.close()

        drops(net.client1, "input", CALLED)
        replies["LIST"] = calls(20)
        unanswered = Talk(net)
        unanswered.says(f"PORT {own}")
        unanswered.says("LIST")
        unanswered.says("NOOP")
        expect(daemon, unanswered.end, "no_call_or_answer", "did not call, or the client's answer never came", "passive mode")


def test_a_session_is_explained_after_its_end():
    """By the client's address, of a real server, and over IPv6."""
    with Topology("dr", servers=1) as net:
        daemon = net.start_daemon(net.config(ipv6=True)).wait_ready()
        with net.client1.enter():
            session = Session(net.vip6)
            assert session.fetch(session.announce("EPSV")).decode().strip() == "rs1"
            host, port = session.sock.getsockname()[:2]
            session.quit()
        told = expect(daemon, net.client1.address6, "landed")
        assert told["session"] == f"[{host}]:{port}" and (told["cluster"], told["server"]) == ("lab", "rs1"), told

        def ended():
            return ask_json(daemon, "explain", f"[{host}]:{port}")["events"][-1]["text"].startswith("the control connection ended")

        poll(ended, what="the end of the session among its events")
        texts = {event["text"] for event in told["events"]}
        assert {"USER", "EPSV", "the client's data connection landed", "RETR"} <= texts, texts
