"""A real server that does what RFC 959 §3.2 says and Debian's do not: rfc959.py NAME PORT

Without PORT or PASV it opens the data connection from its control port − 1 to the port that the control connection comes from.
"""

import socket
import socketserver
import sys

NAME, PORT = sys.argv[1], int(sys.argv[2])
REPLIES = {"USER": "331 Password", "PASS": "230 Welcome", "TYPE": "200 So be it", "QUIT": "221 Bye"}


class Session(socketserver.StreamRequestHandler):
    def handle(self):
        self.say(f"220 {NAME} ready")
        for line in self.rfile:
            verb = line.split()[0].decode().upper()
            if verb == "RETR":
                self.transfer()
            else:
                self.say(REPLIES.get(verb, "502 Not here"))

    def say(self, reply):
        self.wfile.write(f"{reply}\r\n".encode())

    def transfer(self):
        self.say("150 Calling your control port")
        with socket.socket(self.connection.family) as data:
            data.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            data.settimeout(20)
            own, *_ = self.connection.getsockname()
            data.bind((own, PORT - 1))
            try:
                data.connect(self.connection.getpeername())
            except OSError:
                self.say("425 No data connection")
                return
            data.sendall(f"{NAME}\n".encode())
        self.say("226 Done")


class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    request_queue_size = 128


Server(("::", PORT), Session).serve_forever()
