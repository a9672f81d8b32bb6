"""An FTP server that believes whatever it is told, in the place of a real server's, in threads of the test."""

import contextlib
import socket
import socketserver
import threading

REPLIES = {
    **{"USER": "230 Welcome", "TYPE": "200 So be it", "NOOP": "200 Still here", "QUIT": "221 Bye"},
    **{"EPSV": "502 Not here", "LPSV": "502 Not here", "ABOR": "225 Nothing to abort"},
}


@contextlib.contextmanager
def lenient(server):
    """Takes over the control port of a real server, as long as the block runs."""
    server.kill()
    with server.enter():
        lenient = _Server(("::", server.port), _Session)
        lenient.name, lenient.low = server.name, server.passive_ports[0]
        # Its threads are born where it is.
        threading.Thread(target=lenient.serve_forever, daemon=True).start()
    try:
        yield lenient
    finally:
        lenient.shutdown()
        lenient.server_close()


class _Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    request_queue_size = 128
    daemon_threads = True
    # Sessions that are still open at the end.
    block_on_close = False


class _Session(socketserver.StreamRequestHandler):
    """A line ends with LF, however long it is. What is no command is answered and forgotten."""

    def handle(self):
        self.target = self.listener = None
        self.say(f"220 {self.server.name} ready")
        for line in self.rfile:
            try:
                self.answer(*line.decode("latin-1").strip().partition(" "))
            except ValueError:
                self.say("501 What?")

    def answer(self, verb, _, rest):
        match verb.upper():
            case "":
                pass
            case "PORT":
                self.target = _port(rest)
                self.say("200 I shall")
            case "EPRT":
                _, _, address, port, _ = rest.split("|")
                self.target = (address, int(port))
                self.say("200 I shall")
            case "PASV":
                self.passive()
            case "LIST" | "RETR":
                self.transfer()
            case "STAT" | "HELP":
                # A listing, or a message of the day: its lines are somebody's text (RFC 959 §4.2 lets them be).
                self.say(f"214-What you said\r\n{rest}\r\n214 End")
            case other:
                self.say(REPLIES.get(other, "500 What?"))

    def say(self, text):
        self.wfile.write(f"{text}\r\n".encode("latin-1"))

    def passive(self):
        own = self.connection.getsockname()[0]
        self.listener = socket.create_server((own, self.server.low), family=self.connection.family)
        numbers = ",".join([*own.removeprefix("::ffff:").split("."), *map(str, divmod(self.server.low, 256))])
        self.say(f"227 Entering Passive Mode ({numbers}).")

    def transfer(self):
        if not (self.target or self.listener):
            self.say("425 Use PORT or PASV first")
            return
        try:
            data = self.open()
        except OSError as error:
            self.say(f"425 {error}")
            return
        self.say("150 Here it comes")
        data.sendall(f"{self.server.name}\n".encode())
        data.close()
        self.say("226 Done")

    def open(self):
        if self.listener:
            with self.listener:
                return self.listener.accept()[0]
        family = socket.AF_INET6 if ":" in self.target[0] else socket.AF_INET
        data = socket.socket(family)
        data.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        data.settimeout(5)
        data.bind((self.connection.getsockname()[0].removeprefix("::ffff:"), self.server.server_address[1] - 1))
        data.connect(self.target)
        return data


def _port(text):
    """The target of a PORT. A number that is too large wraps, as in a server that keeps it in a byte."""
    numbers = [int(number) % 256 for number in text.split(",")]
    return ".".join(map(str, numbers[:4])), numbers[4] * 256 + numbers[5]
