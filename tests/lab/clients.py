"""FTP clients of other people: each does one job through a VIP and leaves what it got in the job's directory.

A function returns the client's own words: its account of the control connection, from which the job reads who answered and which
verbs were used.
"""

import contextlib
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ftpload import MODES, Session
from hosts import poll

# A slow machine is no reason to fail, and a retry would hide one.
PATIENCE = 120


@dataclass
class Job:
    """One session of a client: where, how, and the directory for what it gets."""

    host: object
    vip: str
    mode: str
    tls: bool
    directory: Path
    upload: str
    words: str = ""

    @property
    def address(self):
        return f"[{self.vip}]" if ":" in self.vip else self.vip

    @property
    def passive(self):
        return self.mode in ("PASV", "EPSV")

    def url(self, path=""):
        return f"ftp://{self.address}/{path}"

    def file(self, name):
        return self.directory / name

    def run(self, command, script="", status=(0,), during=None):
        """Runs a client to its end and keeps its words; `during` is called with the process while it runs."""
        environment = {"HOME": str(self.directory), "PATH": os.environ["PATH"], "LC_ALL": "C", "TERM": "dumb"}
        with open(self.file("words"), "a") as words, self.host.enter():
            options = {"stdin": subprocess.PIPE, "stdout": words, "stderr": words, "text": True, "env": environment}
            process = subprocess.Popen([str(word) for word in command], cwd=self.directory, **options)
        try:
            with process.stdin:
                process.stdin.write(script)
            if during:
                during(process)
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()
            self.words = self.file("words").read_text(errors="replace")
        assert process.returncode in status, f"{command[0]} ended with {process.returncode}"

    @property
    def servers(self):
        """Who said 220 on its control connections, in order."""
        return re.findall(r"220[- :]+(rs\d+) ready", self.words)

    @property
    def protected(self):
        """Whether its control connections went over to TLS."""
        return re.search(r"(?:^|< |<--- )234[ :-]", self.words, re.MULTILINE) is not None

    @property
    def modes(self):
        """How it asked for each of its data connections: more than it needed means that one failed and was tried again."""
        return ASKED.findall(self.words)


# `> EPSV` (curl, ftplib), `---> EPSV` (lftp, tnftp), `--> EPSV` (wget, which also says `==> EPSV`), `Cmd: EPSV` (ncftp).
ASKED = re.compile(rf"(?:(?:^|[^=])> |^Cmd: )({'|'.join(MODES)})\b", re.MULTILINE)


# ── curl

CURL = {
    "PASV": ["--disable-epsv", "--no-ftp-skip-pasv-ip"],
    "EPSV": [],
    "PORT": ["--ftp-port", "-", "--disable-eprt"],
    "EPRT": ["--ftp-port", "-"],
}


def _curl(job):
    tls = ["--ssl-reqd", "--insecure"] if job.tls else []
    return ["--verbose", "--silent", "--show-error", "--globoff", *CURL[job.mode], *tls]


def curl(job):
    same = _curl(job)
    get = [*same, job.url("names/server.txt"), "--output", job.file("got")]
    nlst = [*same, job.url("names/"), "--list-only", "--output", job.file("list")]
    put = [*same, job.url(f"upload/{job.upload}"), "--upload-file", job.file("put")]
    job.run(["curl", *get, "--next", *nlst, "--next", *put])


def curl_get(job, paths):
    pairs = "".join(f'url = "{job.url(path)}"\noutput = "{job.file(Path(path).name)}"\n' for path in paths)
    job.run(["curl", *_curl(job), "--config", "-"], pairs)


def curl_abort(job, path):
    """Asked for the first bytes it sends ABOR when it has them; it does not trust the control connection after that."""
    again = ["--next", *_curl(job), job.url("names/server.txt"), "--output", job.file("got")]
    job.run(["curl", *_curl(job), "--range", "0-9999", job.url(path), "--output", job.file("part"), *again])


# ── lftp


def _lftp(job, *commands, connections=1):
    settings = [
        *("cmd:fail-exit true", "net:max-retries 2", f"net:timeout {PATIENCE}", f"net:connection-limit {connections}"),
        *("ftp:fix-pasv-address false", "ssl:verify-certificate false"),
        *(f"ftp:passive-mode {_yes(job.passive)}", f"ftp:prefer-epsv {_yes(job.mode == 'EPSV')}"),
        *(f"ftp:ssl-allow {_yes(job.tls)}", f"ftp:ssl-allow-anonymous {_yes(job.tls)}", f"ftp:ssl-force {_yes(job.tls)}", f"ftp:ssl-protect-data {_yes(job.tls)}"),
    ]
    lines = ["debug -c 9", *(f"set {setting}" for setting in settings), f"open {job.url()}", *commands, "bye"]
    job.file("script").write_text("\n".join(lines) + "\n")
    job.run(["lftp", "-f", job.file("script")])


def lftp(job):
    put = f"put {job.file('put')} -o upload/{job.upload}"
    _lftp(job, f"get names/server.txt -o {job.file('got')}", f"nlist names > {job.file('list')}", put)


def lftp_get(job, paths):
    _lftp(job, f"lcd {job.directory}", f"mget {' '.join(paths)}")


def lftp_abort(job, path):
    """Its reader goes away: it sends Telnet's interrupt, synch as urgent data, and ABOR."""
    _lftp(job, f"cat {path} | head -c 10000 > {job.file('part')}", f"get names/server.txt -o {job.file('got')}")


def lftp_mirror(job, path, parallel):
    """Several control connections of one client, each with its own data connections."""
    _lftp(job, f"mirror --parallel={parallel} {path} {job.file(path)}", connections=parallel)


# ── ncftp


def _ncftp(job, *commands, during=None):
    lines = ["debug 10", f"set passive {_on(job.passive)}", f"open {job.address}", f"lcd {job.directory}", *commands, "quit"]
    job.run(["ncftp"], "\n".join(lines) + "\n", during=during)


def ncftp(job):
    _ncftp(job, "get -z names/server.txt got", "ls names", "cd upload", f"put -z put {job.upload}")
    # It prints a listing among its other words, up to 3.2.6 behind the 226.
    listing = re.search(r"^Cmd: (?:LIST|MLSD) names\n1(.*?)^Cmd: ", job.words, re.DOTALL | re.MULTILINE)
    job.file("list").write_text(listing[1] if listing else "")


def ncftp_get(job, paths):
    _ncftp(job, f"cd {Path(paths[0]).parent}", "get *")


def ncftp_abort(job, path):
    """Interrupted in mid-transfer: it sends Telnet's interrupt, synch as urgent data, and ABOR."""
    _ncftp(job, f"get -z {path} part", "get -z names/server.txt got", during=_interrupt(job))


# ── tnftp


def _tnftp(job, *commands, during=None):
    lines = ["epsv4" if job.mode in ("PASV", "PORT") and ":" not in job.vip else "", "user anonymous lab@", "binary", *commands, "quit"]
    family = "-6" if ":" in job.vip else "-4"
    script = "".join(f"{line}\n" for line in lines if line)
    job.run(["tnftp", "-i", "-n", "-v", "-d", family, "-p" if job.passive else "-A", job.vip], script, during=during)


def tnftp(job):
    get, put = f"get names/server.txt {job.file('got')}", f"put {job.file('put')} upload/{job.upload}"
    _tnftp(job, get, f"nlist names {job.file('list')}", put)


def tnftp_get(job, paths):
    _tnftp(job, *(f"get {path} {job.file(Path(path).name)}" for path in paths))


def tnftp_abort(job, path):
    """Interrupted in mid-transfer: it sends Telnet's interrupt, synch as urgent data, and ABOR."""

    _tnftp(job, f"get {path} {job.file('part')}", f"get names/server.txt {job.file('got')}", during=_interrupt(job))


# ── wget


def _wget(job, *arguments, status=(0,)):
    url = ["--no-config", "--debug", "--server-response", "--tries=2", f"--timeout={PATIENCE}", "--no-directories"]
    tls = ["--no-check-certificate"] if job.tls else []
    mode = [] if job.passive else ["--no-passive-ftp"]
    job.run(["wget", *url, *mode, *tls, *arguments], status=status)


def _wget_url(job, path):
    return job.url(path).replace("ftp:", "ftps:") if job.tls else job.url(path)


def wget(job):
    """Follows the listing: LIST and RETR in one session."""
    _wget(job, "--recursive", "--level=1", "--no-remove-listing", f"--directory-prefix={job.file('names')}", _wget_url(job, "names/"))
    job.file("list").write_text(job.file("names/.listing").read_text())
    job.file("got").write_bytes(job.file("names/server.txt").read_bytes())


def wget_get(job, paths):
    directory = str(Path(paths[0]).parent)
    arguments = ["--recursive", "--level=1", f"--directory-prefix={job.directory}", _wget_url(job, f"{directory}/")]
    _wget(job, *arguments)


# ── Python's ftplib


def ftplib(job):
    with _ftplib(job) as session:
        job.file("got").write_bytes(session.fetch(_announce(session, job), "names/server.txt"))
        job.file("list").write_bytes(session.fetch(_announce(session, job), "names", "NLST"))
        session.store(_announce(session, job), f"upload/{job.upload}", job.file("put").read_bytes())


def ftplib_get(job, paths):
    with _ftplib(job) as session:
        for path in paths:
            job.file(Path(path).name).write_bytes(session.fetch(_announce(session, job), path))


def ftplib_abort(job, path):
    with _ftplib(job) as session:
        with session.data(_announce(session, job), f"RETR {path}") as data:
            job.file("part").write_bytes(data.recv(10000))
            session.putcmd("ABOR")
        # One reply or two, before that of the NOOP.
        session.putcmd("NOOP")
        while not (reply := session.getmultiline()).startswith("200"):
            job.words += f"ABOR: {reply}\n"
        job.file("got").write_bytes(session.fetch(_announce(session, job), "names/server.txt"))


def _announce(session, job):
    job.words += f"> {job.mode}\n"
    return session.announce(job.mode)


@contextlib.contextmanager
def _ftplib(job):
    with job.host.enter():
        session = Session(job.vip, timeout=PATIENCE, tls=job.tls)
        job.words += "\n".join([session.welcome, session.protected or "", ""])
        with contextlib.closing(session):
            yield session


def _interrupt(job):
    """Ctrl-C when the first bytes of a file have come."""

    def interrupt(process):
        part = job.file("part")
        poll(lambda: part.exists() and part.stat().st_size > 0, what="the first bytes")
        process.send_signal(signal.SIGINT)

    return interrupt


def _yes(condition):
    return "true" if condition else "false"


def _on(condition):
    return "on" if condition else "off"
