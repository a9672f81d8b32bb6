"""A real Prometheus reads a busy daemon: every query of the dashboard, every alert."""

import json
import re
import signal
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from ftpload import busy
from hosts import poll
from selection import long
from topology import Topology

DEPLOY = Path("/repo/deploy")
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
API = "http://127.0.0.1:9090"
CONFIG = f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{ALERTS}]
scrape_configs: [{{job_name: lvs, static_configs: [{{targets: ["127.0.0.1:9786"]}}]}}]
"""

# Of health checks over TLS, and of servers that stand in the file by name; there are none here. (health.py and names.py see the
# values, promtool the alerts.)
UNLIKE = {"ftpdirector_server_certificate_expiry_seconds", "ftpdirector_server_name_resolved"}


@long
def test_prometheus_runs_dashboard_and_alerts():
    with Topology("nat", servers=2) as net:
        daemon = net.start_daemon().wait_ready()
        prometheus = Prometheus(net.director)
        dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
        with busy(net.client1, net.vip, sessions=3, rounds=1):
            for query in queries(dashboard):
                poll(lambda: prometheus.has_data(query), 180, what=lambda: f"data for {query}\n{prometheus.log()}")
        for annotation in dashboard["annotations"]["list"]:
            prometheus.query(filled_in(annotation["expr"]))
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
                values = prometheus.ask(f"label/{label}/values", **{"match[]": filled_in(metric)})
                assert values == [{"cluster": "lab", "instance": "127.0.0.1:9786"}[label]], values

        # Each rule has been evaluated, and every series that it asks for is there.
        poll(lambda: set(health(prometheus)) == {"ok"}, what=lambda: f"every rule evaluated: {health(prometheus)}")
        asked = set(re.findall(r"\bftpdirector_\w+", " ".join(rule["query"] for rule in rules(prometheus))))
        assert len(asked) > 8, asked
        for metric in asked - UNLIKE:
            poll(lambda: prometheus.query(metric), 180, what=metric)
        # Nothing is wrong, until something is.
        assert firing(prometheus) == set(), firing(prometheus)
        daemon.config.write_text("clusters: []\n")
        daemon.process.send_signal(signal.SIGHUP)
        poll(lambda: firing(prometheus) == {"FtpDirectorReloadFailed"}, what=lambda: f"the alert ({firing(prometheus)})")


def queries(dashboard):
    return [filled_in(target["expr"]) for panel in dashboard["panels"] for target in panel.get("targets", [])]


def filled_in(query):
    """As Grafana would, with everything selected."""
    for name, value in {"$__rate_interval": "30s", "$__range": "1m", "$instance": ".*", "$cluster": ".*"}.items():
        query = query.replace(name, value)
    assert "$" not in query, query
    return query


def rules(prometheus):
    return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]


def health(prometheus):
    return [rule["lastError"] if rule.get("lastError") else rule["health"] for rule in rules(prometheus)]


def firing(prometheus):
    alerts = prometheus.ask("alerts")["alerts"]
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


class Prometheus:
    """On the director, with files of its own."""

    def __init__(self, director):
        self.director = director
        self.files = Path(tempfile.mkdtemp())
        config = self.files / "prometheus.yaml"
        config.write_text(CONFIG)
        self.log_path = self.files / "log"
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={self.files}/data"]
        with open(self.log_path, "w") as log:
            self.process = director.popen([*command, "--web.listen-address=127.0.0.1:9090"], stdout=log, stderr=log)
        poll(self.ready, 120, what=self.log)

    def log(self):
        return f"Prometheus said:\n{self.log_path.read_text()[-2000:]}"

    def ready(self):
        assert self.process.poll() is None, self.log()
        try:
            with self.director.enter(), urllib.request.urlopen(f"{API}/-/ready", timeout=10) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def ask(self, path, **parameters):
        url = f"{API}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with self.director.enter(), urllib.request.urlopen(url, timeout=60) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{url}: {error.read().decode()}") from error
        assert found["status"] == "success" and not found.get("warnings"), found
        return found["data"]

    def query(self, query):
        return self.ask("query", query=query)["result"]

    def has_data(self, query):
        """Numbers, not just series without any."""
        values = [sample["value"][1] for sample in self.query(query)]
        return values and "NaN" not in values
