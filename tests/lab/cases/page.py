"""The page for people at `metrics.listen`: what a browser gets, and what many of them cost."""

import re
import threading
import time
import urllib.request

from ftpload import Session, load
from hosts import poll
from selection import long
from topology import Topology

URL = "http://127.0.0.1:9786/"
CHECK = "health_check: {kind: banner, interval: 500ms, timeout: 3s}"


def get(net, path=""):
    with net.director.enter(), urllib.request.urlopen(URL + path, timeout=30) as answer:
        return answer.headers, answer.read().decode()


def test_a_failing_server_and_no_clients():
    with Topology("nat", servers=2) as net:
        net.start_daemon(net.config([CHECK])).wait_ready()
        poll(lambda: "All is well." in get(net)[1], what="a page on which all is well")
        doomed = net.servers[0]
        with net.client1.enter():
            session = Session(net.vip)
            session.fetch(session.announce("EPSV"))
        doomed.kill()
        poll(lambda: "Alarm" in get(net)[1], what="the alarm")
        headers, page = get(net)
        assert re.search(rf"<b>lab/{doomed.name}</b> Down for [0-9]+ s: connect: ", page), page
        assert "<dt>Servers up</dt><dd>1 of 2</dd>" in page, page
        assert str(net.client1.address) not in page and "anonymous" not in page, page
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src"), headers
        wanted = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
        assert {name: headers[name] for name in wanted} == wanted, headers
        assert headers["Content-Type"] == "text/html; charset=utf-8", headers


def test_who_asks_all_the_time_slows_nobody_down():
    """As many as the endpoint serves, as fast as they can: the page is made once a second, and transfers go on."""
    with Topology("nat", servers=2) as net:
        daemon = net.start_daemon().wait_ready()
        over, asked = threading.Event(), []

        def ask():
            # Each thread enters the director's namespace by itself.
            while not over.is_set():
                try:
                    get(net)
                    asked.append(time.monotonic())
                except OSError:
                    time.sleep(0.01)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            poll(lambda: len(asked) > 20, what="pages")
            report = load(net.client1, net.vip, sessions=6, rounds=2)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert report.right == report.total == 48, report
        assert daemon.metrics().sum("ftpdirector_queue_dropped_total") == 0


@long
def test_the_last_minute_is_on_it():
    with Topology("nat", servers=2) as net:
        net.start_daemon().wait_ready()
        report = load(net.client1, net.vip, sessions=2, rounds=1)
        came = f"<b>{report.total}</b> came as expected"
        poll(lambda: came in get(net)[1], 90, what=came)
