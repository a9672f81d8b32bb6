"""Clients that transfer at an even pace, and tell what stopped them: for how long, and at which step of a transfer.

Unlike ftpload's sessions they go on after a transfer that failed, as long as the control connection answers.
"""

import collections
import fcntl
import ftplib
import itertools
import struct
import termios
import threading
import time
from dataclasses import dataclass

from ftpload import FILE, MODES, Session
from hosts import poll

ACTIVE = ("PORT", "EPRT")
# Longer than vsftpd waits for a data connection (60 s), so that its last word on a transfer is heard.
PATIENCE = 90.0
# For a data connection: as long as the longest pause that TCP makes between two of its repetitions here.
DATA_PATIENCE = 40.0


@dataclass
class Beat:
    """One transfer that came to an end."""

    session: int
    mode: str
    began: float
    ended: float
    # At which step it failed, and of what; both empty if it did not.
    step: str = ""
    error: str = ""

    @property
    def right(self):
        return not self.error


class Rhythm:
    """Sessions in threads of their own, `pace` seconds from one transfer to the next. Start it inside `client.enter()`."""

    def __init__(self, host, sessions=30, pace=1.0, sources=(None,)):
        """`sources`: addresses of the host, taken in turn."""
        self.host, self.pace, self.over = host, pace, threading.Event()
        self.sessions, self.beats, self.misdirected = [None] * sessions, [], []
        # Sessions that ended: with their control connection; with a server that says nothing more, and acknowledges.
        self.lost, self.hung = [], []
        self.threads = [
            threading.Thread(target=self._session, args=(number, sources[number % len(sources)]), daemon=True)
            for number in range(sessions)
        ]
        for thread in self.threads:
            thread.start()

    def stop(self):
        """Every session ends after the transfer that it is at."""
        self.over.set()
        for thread in self.threads:
            thread.join()

    def ready(self):
        """Whether all are logged in."""
        return all(self.sessions) or bool(self.lost)

    def going_on(self):
        """The numbers of the sessions that have not ended."""
        return set(range(len(self.sessions))) - {number for number, _ in self.lost + self.hung}

    def each_has(self, transfers, since):
        """Whether each session that goes on has done so many transfers that began after this moment."""
        done = collections.Counter(beat.session for beat in list(self.beats) if beat.right and beat.began >= since)
        return all(done[number] >= transfers for number in self.going_on())

    def failed(self, since, until):
        """What failed and began between these moments, or was under way then: (mode, step, error) → how often."""
        failed = [beat for beat in self.beats if not beat.right and beat.ended >= since and beat.began < until]
        return collections.Counter((beat.mode, beat.step, beat.error) for beat in failed)

    def longest_pause(self, since, until):
        """From one good transfer of a session to its next, beyond its pace: the longest that ended between these moments."""
        longest = 0.0
        for number in range(len(self.sessions)):
            ends = [beat.ended for beat in self.beats if beat.session == number and beat.right]
            gaps = [after - before for before, after in itertools.pairwise(ends) if since <= after < until]
            longest = max([longest, *(gap - self.pace for gap in gaps)])
        return longest

    def _session(self, number, source):
        try:
            session = self.sessions[number] = Session(self.host, timeout=PATIENCE, source=source)
        except (OSError, EOFError, ftplib.Error) as error:
            self.lost.append((number, f"log-in: {_name(error)}"))
            return
        # Not all with the same mode at the same moment.
        begins = time.monotonic() + self.pace * number / len(self.sessions)
        for mode in itertools.islice(itertools.cycle(MODES), number, None):
            if self.over.wait(max(0.0, begins - time.monotonic())):
                break
            begins = time.monotonic() + self.pace
            if not self._transfer(number, session, mode):
                return
        session.close()

    def _transfer(self, number, session, mode):
        """One transfer; false if the control connection is lost."""
        beat = Beat(number, mode, time.monotonic(), 0.0)
        steps, ended = Steps(session, mode), None
        try:
            if (content := steps.run()) != session.server:
                self.misdirected.append(f"{mode}: {content}, not {session.server}")
        except (OSError, EOFError, ftplib.Error) as error:
            beat.step, beat.error = steps.at, _name(error)
            ended = steps.end_of_session(error)
        finally:
            steps.close()
        beat.ended = time.monotonic()
        self.beats.append(beat)
        if ended is not None:
            getattr(self, ended).append((number, f"{mode}, {beat.step}: {beat.error}"))
        return ended is None


class Steps:
    """A transfer, step by step."""

    def __init__(self, session, mode):
        self.session, self.mode, self.at = session, mode, mode
        self.opening = self.data = None

    def run(self):
        """Returns the content of the file."""
        session = self.session
        self.opening = session.announce(self.mode)
        if self.mode not in ACTIVE:
            self._open("connect")
        self.at = "RETR"
        session.sendcmd(f"RETR {FILE}")
        if self.mode in ACTIVE:
            self._open("accept")
        self.at = "data"
        content = b"".join(iter(lambda: self.data.recv(65536), b""))
        self.at = "226"
        session.voidresp()
        return content.decode().strip()

    def _open(self, step):
        self.at = step
        self.session.timeout = DATA_PATIENCE
        if self.mode in ACTIVE:
            self.opening.listener.settimeout(DATA_PATIENCE)
        try:
            self.data = self.opening()
        finally:
            self.session.timeout = PATIENCE
        self.data.settimeout(DATA_PATIENCE)

    def end_of_session(self, error):
        """How the session ends with this error of a step: `lost`, `hung`; `None`: it goes on, the server's last word is heard."""
        if isinstance(error, ftplib.Error) or self.at == "connect":
            return None
        if self.at in ("accept", "data"):
            self.close()
            try:
                self.session.getmultiline()
                return None
            except (OSError, EOFError) as last:
                error = last
        # Also when it said 226: it waits for the end of that data connection before it reads on.
        if isinstance(error, TimeoutError) and self._is_heard():
            return "hung"
        return "lost"

    def _is_heard(self):
        """Whether the server's TCP acknowledges: the server itself waits for the end of a data connection."""
        sock = self.session.sock
        try:
            sock.sendall(b"NOOP\r\n")
            poll(lambda: struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))) == (0,), deadline=30.0)
        except (OSError, AssertionError):
            return False
        return True

    def close(self):
        for end in (self.data, getattr(self.opening, "listener", None)):
            if end is not None:
                end.close()


def _name(error):
    if isinstance(error, TimeoutError):
        return "timed out"
    return f"{type(error).__name__} {str(error)[:50]}".strip()
