"""A real server with other people's habits: slow.py NAME PORT LOW HIGH

SITE ANSWER N   PASV and EPSV are answered after N seconds (a tape robot, a name that is looked up)
SITE STAGE N    RETR and STOR do nothing for N seconds, and then open or accept the data connection
SITE END E      replies end in E: crlf, nul (CR LF NUL), lfcr, cr
SITE TEXT T     the text of the 227: ascii, utf8, none (not even a blank)

PORT lasts for every transfer that follows, as RFC 959 §3.2 has it.
"""

import random
import socket
import socketserver
import sys
import time

NAME, PORT, LOW, HIGH = sys.argv[1], *map(int, sys.argv[2:5])
ENDS = {"crlf": b"\r\n", "nul": b"\r\n\0", "lfcr": b"\n\r", "cr": b"\r"}
TEXTS = {"ascii": " Entering Passive Mode ", "utf8": " 进入被动模式 ", "none": ""}
REPLIES = {"USER": "331 Password", "PASS": "230 Welcome", "TYPE": "200 So be it", "NOOP": "200 Still here"}


class Session(socketserver.StreamRequestHandler):
    def handle(self):
        self.habits = {"ANSWER": "0", "STAGE": "0", "END": "crlf", "TEXT": "ascii"}
        self.listener = self.address = None
        self.say(f"220 {NAME} ready")
        for line in self.rfile:
            verb, *rest = line.decode().split() or [""]
            act = getattr(self, verb.lower().replace("@", "a"), None) if verb.isupper() else None
            if act:
                act(*rest)
            else:
                self.say(REPLIES.get(verb, "502 Not here"))

    def say(self, reply):
        self.wfile.write(reply.encode() + ENDS[self.habits["END"]])

    def site(self, habit, value):
        if habit != "END":
            self.habits[habit] = value
        self.say("200 So be it")
        self.habits[habit] = value

    def pasv(self):
        port = self.listen()
        own = self.connection.getsockname()[0].removeprefix("::ffff:").replace(".", ",")
        self.say(f"227{TEXTS[self.habits['TEXT']]}({own},{port >> 8},{port & 255})")

    def pasw(self):
        self.pasv()

    def epsv(self):
        self.say(f"229 Entering Extended Passive Mode (|||{self.listen()}|)")

    def listen(self):
        while True:
            try:
                self.listener = socket.create_server(("::", random.randint(LOW, HIGH)), family=socket.AF_INET6, dualstack_ipv6=True)
                break
            except OSError:
                continue
        self.listener.settimeout(60)
        time.sleep(float(self.habits["ANSWER"]))
        return self.listener.getsockname()[1]

    def port(self, text):
        *host, high, low = text.split(",")
        self.named(".".join(host), int(high) << 8 | int(low))

    def eprt(self, text):
        self.named(text.split("|")[2], int(text.split("|")[3]))

    def named(self, host, port):
        self.listener, self.address = None, (f"::ffff:{host}" if "." in host else host, port)
        self.say("200 So be it")

    def retr(self, *_):
        self.transfer(lambda data: data.sendall(f"{NAME}\n".encode()))

    def stor(self, *_):
        def take(data):
            data.settimeout(90)
            while data.recv(1 << 16):
                pass

        self.transfer(take)

    def transfer(self, work):
        time.sleep(float(self.habits["STAGE"]))
        try:
            with self.open() as data:
                work(data)
        except OSError as error:
            self.say(f"425 {error}")
        else:
            self.say("226 Done")

    def open(self):
        if self.listener:
            self.say("150 Connect now")
            data, _ = self.listener.accept()
            self.listener.close()
            return data
        data = socket.socket(socket.AF_INET6)
        data.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        data.settimeout(20)
        own, *_ = self.connection.getsockname()
        data.bind((own, PORT - 1))
        data.connect(self.address)
        self.say("150 Here it comes")
        return data


class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128


Server(("::", PORT), Session).serve_forever()
