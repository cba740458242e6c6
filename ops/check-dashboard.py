#!/usr/bin/env python3
"""Evaluates every query of the dashboard, and every alert rule, against a Prometheus that scrapes a loaded cluster of three nodes.

    apt-get install --no-install-recommends prometheus     # or: apt-get download prometheus && dpkg-deb -x ...
    cargo build --release -p banyan-node -p banyan-bench
    ops/check-dashboard.py

Starts a playground in a temporary directory, load on it, and Prometheus; fails if a query has no answer. All of it is on
loopback and gone afterwards. --banyan, --bench, --prometheus and --promtool say where the programs are.
"""

import argparse
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

OPS = pathlib.Path(__file__).resolve().parent
MQTT, HTTP, PEER, PROMETHEUS = 21883, 28080, 27400, 29090
NODES = [f"127.0.0.1:{HTTP + i}" for i in range(3)]


def fetch(url, data=None, method=None):
    request = urllib.request.Request(url, data=data, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.read()


def wait_for(what, url, seconds=120):
    deadline = time.monotonic() + seconds
    while True:
        try:
            return fetch(url)
        except OSError as error:
            if time.monotonic() > deadline:
                sys.exit(f"{what} does not answer: {error}")
            time.sleep(0.2)


def http_load(stop):
    """Reads, writes, lists, feeds and refused requests over HTTP, at every node."""
    number = 0
    while not stop.is_set():
        number += 1
        base = f"http://{NODES[number % 3]}"
        calls = [
            ("PUT", f"/v1/topics/check/{number % 50}", str(number).encode()),
            ("GET", f"/v1/topics/check/{number % 50}", None),
            ("GET", "/v1/topics?filter=check/%2B&limit=5", None),
            ("GET", "/v1/topics/check/0?consistency=local", None),
            ("GET", "/v1/changes?feed=normal&limit=5&since=now", None),
            ("GET", "/v1/cluster", None),
            ("DELETE", f"/v1/topics/check/{number % 7}", None),
            ("GET", "/v1/topics/missing", None),
        ]
        for method, path, body in calls:
            try:
                fetch(base + path, body, method)
            except urllib.error.HTTPError:
                pass  # 404 is among what is to be counted
            except OSError as error:
                print(f"{method} {path}: {error}", file=sys.stderr)
        time.sleep(0.05)


def expressions():
    dashboard = json.loads((OPS / "grafana/banyan.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            metric = re.match(r"label_values\((\w+)", variable["query"]["query"]).group(1)
            yield f"variable {variable['name']}", metric


def evaluate(base, expression):
    expression = expression.replace("$__rate_interval", "30s").replace("$instance", ".*")
    answer = json.loads(fetch(f"{base}/api/v1/query?" + urllib.parse.urlencode({"query": expression})))
    if answer["status"] != "success":
        raise ValueError(answer)
    return answer["data"]["result"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = OPS.parent / "target/release"
    parser.add_argument("--banyan", default=str(target / "banyan"))
    parser.add_argument("--bench", default=str(target / "banyan-bench"))
    parser.add_argument("--prometheus", default=shutil.which("prometheus") or "prometheus")
    parser.add_argument("--promtool", default=shutil.which("promtool"))
    parser.add_argument("--seconds", type=int, default=75, help="time under load before the queries")
    arguments = parser.parse_args()

    if arguments.promtool:
        subprocess.run([arguments.promtool, "check", "rules", OPS / "prometheus/rules.yml"], check=True)
    running = []
    stop = threading.Event()
    requests = threading.Thread(target=http_load, args=(stop,), daemon=True)
    with tempfile.TemporaryDirectory(prefix="banyan-dashboard-") as directory:
        directory = pathlib.Path(directory)
        log = open(directory / "log", "w")

        def start(*command):
            process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log)
            running.append(process)
            return process

        try:
            start(arguments.banyan, "playground", "--data-dir", directory / "data",
                  "--mqtt", MQTT, "--http", HTTP, "--peer", PEER)
            for node in NODES:
                wait_for(node, f"http://{node}/health/ready")
            (directory / "rules.yml").write_text((OPS / "prometheus/rules.yml").read_text())
            config = (OPS / "prometheus/prometheus.yml").read_text()
            config = config.replace("15s", "1s").replace(
                '["127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:8082"]', json.dumps(NODES))
            (directory / "prometheus.yml").write_text(config)
            start(arguments.prometheus, f"--config.file={directory}/prometheus.yml",
                  f"--storage.tsdb.path={directory}/tsdb", f"--web.listen-address=127.0.0.1:{PROMETHEUS}")
            base = f"http://127.0.0.1:{PROMETHEUS}"
            wait_for("Prometheus", f"{base}/-/ready")
            addresses = ",".join(f"127.0.0.1:{MQTT + i}" for i in range(3))
            load = arguments.seconds + 60
            start(arguments.bench, "write", "--addresses", addresses, "--seconds", load,
                  "--connections", 6, "--inflight", 4)
            start(arguments.bench, "fanout", "--addresses", addresses, "--filter", "bench/#",
                  "--publishers", 1, "--subscribers", 3, "--inflight", 1, "--seconds", load)
            requests.start()
            time.sleep(arguments.seconds)

            up = evaluate(base, "up")
            print("scraped:", ", ".join(f"{found['metric']['instance']} {found['value'][1]}" for found in up))
            empty, count = [], 0
            for title, expression in expressions():
                count += 1
                found = evaluate(base, expression)
                values = [sample["value"][1] for sample in found]
                shown = " ".join(f"{float(value):.4g}" for value in values[:6])
                print(f"{len(found):4} series  {title}: {shown}")
                if not found:
                    empty.append((title, expression))
            rules = json.loads(fetch(f"{base}/api/v1/rules"))["data"]["groups"]
            rules = [rule for group in rules for rule in group["rules"]]
            sick = [rule["name"] for rule in rules if rule["health"] != "ok"]
            firing = [rule["name"] for rule in rules if rule["state"] == "firing"]
            print(f"{count} queries, {len(empty)} without an answer; {len(rules)} rules, "
                  f"{len(sick)} that cannot be evaluated {sick}, firing: {firing}")
            for title, expression in empty:
                print(f"EMPTY {title}: {expression}")
            return 1 if empty or sick else 0
        finally:
            stop.set()
            if requests.is_alive():
                requests.join(timeout=30)
            for process in reversed(running):
                process.send_signal(signal.SIGINT)
            for process in reversed(running):
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()
            log.close()


if __name__ == "__main__":
    sys.exit(main())
