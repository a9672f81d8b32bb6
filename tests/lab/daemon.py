"""The daemon under test, as its operator sees it: command line, log, exit status, metrics."""

import itertools
import os
import re
import tempfile
import urllib.request
from pathlib import Path

from hosts import poll

BINARY = os.environ.get("LAB_FTPDIRECTOR", "/repo/target/lab/bin/ftpdirector")
METRICS = "http://127.0.0.1:9786/metrics"
SAMPLE = re.compile(r'^(\w+)(?:\{(.*)\})? (\S+)$', re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')

_numbers = itertools.count(1)


class Metrics(dict):
    """Samples by name and labels: `{("ftpdirector_sessions", frozenset({("server", "rs1")})): 10.0}`."""

    def __init__(self, text):
        for name, labels, value in SAMPLE.findall(text):
            self[name, frozenset(LABEL.findall(labels))] = float(value)

    def sum(self, metric, **labels):
        """Adds up every sample of a metric that has these labels."""
        wanted = set(labels.items())
        return sum(value for (name, found), value in self.items() if name == metric and wanted <= found)


def ftpdirector(host, *arguments, prefix=(), **options):
    """Runs one of the other commands (`check`, `flush`, …) on a host and returns it with its output."""
    return host.run([*prefix, BINARY, *arguments], check=False, **options)


def config_file(text):
    """Writes a configuration and returns its path."""
    path = Path(tempfile.gettempdir(), f"config-{next(_numbers)}.yaml")
    path.write_text(text)
    return path


class Daemon:
    """`ftpdirector run` on the director."""

    def __init__(self, director, config, prefix=()):
        assert Path(BINARY).exists(), f"no {BINARY}: build it, or let tests/run do it"
        self.director = director
        self.config = config_file(config)
        self.log_path = self.config.with_suffix(".log")
        with open(self.log_path, "w") as log:
            self.process = director.popen([*prefix, BINARY, "run", "--config", self.config], stdout=log, stderr=log)

    def wait_ready(self):
        def ready():
            status = self.process.poll()
            assert status is None, f"ftpdirector run ended with {status}:\n{self.log()}"
            return "ready" in self.log()

        poll(ready, what="the daemon's `ready`")
        return self

    def log(self):
        return self.log_path.read_text()

    def metrics(self):
        with self.director.enter(), urllib.request.urlopen(METRICS, timeout=30) as answer:
            return Metrics(answer.read().decode())

    def term(self):
        """Ends it in order; returns its exit status."""
        self.process.terminate()
        return self.process.wait(timeout=30)

    def kill9(self):
        self.process.kill()
        self.process.wait(timeout=30)
