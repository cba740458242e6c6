#!/usr/bin/env python3
"""A follower is away for many writes and comes back: what do writers see while it catches up?

    cargo build --release -p banyan-node -p banyan-bench && benches/absent_follower.py

Starts three nodes of its own on loopback, with data in a directory that is removed at the end. A paced load is measured with all
nodes; one follower is stopped and the others take --writes as fast as they acknowledge them; the paced load is measured without
the follower, while it catches up, and afterwards. Prints the latency of writes in each phase, and how the phases compare.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Node:
    def __init__(self, program, directory, index, base):
        self.id = index + 1
        self.mqtt, self.http, self.peer = (base + 100 * service + index for service in range(3))
        members = ",".join(f"{other + 1}@127.0.0.1:{base + 200 + other}" for other in range(3))
        self.log = os.path.join(directory, f"node-{self.id}.log")
        self.command = [
            program, "--data-dir", os.path.join(directory, f"node-{self.id}"), "--node-id", str(self.id),
            "--mqtt", f"127.0.0.1:{self.mqtt}", "--http", f"127.0.0.1:{self.http}", "--peer", f"127.0.0.1:{self.peer}",
            "--members", members, "--bootstrap",
        ]
        self.process = None

    def start(self):
        # They share this machine, as the nodes of a playground do.
        workers = {"TOKIO_WORKER_THREADS": str(max(1, (os.cpu_count() or 1) // 3))}
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **workers}
            )

    def stop(self):
        self.process.terminate()
        self.process.wait(30)

    def cluster(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/v1/cluster", timeout=5) as answer:
            return json.load(answer)

    def post(self, path):
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", method="POST")
        urllib.request.urlopen(request, timeout=5).close()


def wait_until(what, check, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            found = check()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(0.1)
    sys.exit(f"{what}: not within {seconds} s")


def hand_over(node, away):
    """Whether another node than `away` leads; if it does not, it is asked to let `node` lead."""
    leader = node.cluster()["leader"]
    if leader == away.id:
        node.post(f"/v1/cluster/leader?to={node.id}")
    return leader not in (None, away.id)


def member(status, node):
    return next(member for member in status["members"] if member["id"] == node.id)


class Load:
    """`banyan-bench write` against the nodes that stay."""

    def __init__(self, arguments, nodes):
        self.base = [
            arguments.bench, "write", "--json", "--payload", str(arguments.payload),
            "--addresses", ",".join(f"127.0.0.1:{node.mqtt}" for node in nodes), "--topics", str(arguments.topics),
        ]
        self.paced = self.base + ["--connections", "16", "--inflight", "64", "--rate", str(arguments.rate)]

    def fill(self, writes):
        return json.loads(subprocess.check_output(self.base + ["--connections", "64", "--count", str(writes)]))

    def run(self, seconds):
        return json.loads(subprocess.check_output(self.paced + ["--seconds", str(seconds)]))

    def run_while(self, action):
        process = subprocess.Popen(self.paced + ["--seconds", "86400"], stdout=subprocess.PIPE)
        time.sleep(1.5)  # its warm-up
        try:
            action()
        finally:
            process.send_signal(signal.SIGINT)
            report = process.communicate(timeout=60)[0]
        return json.loads(report)


def show(phase, report):
    latency = report["latency_us"]
    print(
        f"{phase:<28} {report['acknowledged']:>9} writes, p50 {latency['p50'] / 1000:8.2f} ms, "
        f"p99 {latency['p99'] / 1000:8.2f} ms, max {latency['max'] / 1000:8.2f} ms, unacknowledged {report['unacknowledged']}",
        flush=True,
    )
    return latency["p99"]


def measure(arguments, directories):
    nodes = [Node(arguments.banyan, directory, index, arguments.base_port) for index, directory in enumerate(directories)]
    try:
        for node in nodes:
            node.start()
        wait_until("a leader", lambda: nodes[0].cluster()["leader"], 30)
        away, staying = nodes[-1], nodes[:-1]
        # It is to be a follower that goes.
        wait_until("another leader", lambda: hand_over(staying[0], away), 30)
        load = Load(arguments, staying)
        load.fill(arguments.topics)
        before = show("all three nodes", load.run(arguments.seconds))

        away.stop()
        missed = load.fill(arguments.writes)
        print(f"node {away.id} is away for {missed['acknowledged']} writes, {missed['acknowledged'] / missed['seconds']:.0f} a second")
        without = show("without the follower", load.run(arguments.seconds))

        status = staying[0].cluster()
        goal = member(status, staying[0])["last_log_index"]
        purged = max(member(status, node)["purged_index"] for node in staying)
        how = {}

        def come_back():
            began = time.monotonic()
            away.start()

            def caught_up():
                return (member(staying[0].cluster(), away).get("applied_index") or 0) >= goal

            wait_until("the follower has caught up", caught_up, 1800)
            how["seconds"] = time.monotonic() - began

        during = show("while it catches up", load.run_while(come_back))
        installed = member(staying[0].cluster(), away)["purged_index"] >= purged > 0
        after = show("all three again", load.run(arguments.seconds))
        print(
            f"caught up after {how['seconds']:.1f} s, {'by snapshot' if installed else 'from the log'}; "
            f"p99 while it catches up: {during / without:.2f} times that without it, {during / before:.2f} times that with all "
            f"before, {during / after:.2f} times that after"
        )

        def equal():
            found = {(m.get("applied_index"), m.get("digest")) for m in staying[0].cluster()["members"]}
            return len(found) == 1 and found

        print("digests equal:", *wait_until("equal digests", equal, 60))
    finally:
        for node in nodes:
            if node.process:
                node.process.kill()
                node.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writes", type=int, default=5_000_000)
    parser.add_argument("--topics", type=int, default=1_000_000)
    parser.add_argument("--payload", type=int, default=128, help="bytes")
    parser.add_argument("--rate", type=int, default=2_000, help="writes a second of the paced load")
    parser.add_argument("--seconds", type=int, default=20, help="of each phase")
    parser.add_argument("--away-directory", help="where the node that goes away has its data: a disk of its own")
    parser.add_argument("--base-port", type=int, default=21_000)
    parser.add_argument("--banyan", default=os.path.join(ROOT, "target/release/banyan"))
    parser.add_argument("--bench", default=os.path.join(ROOT, "target/release/banyan-bench"))
    arguments = parser.parse_args()
    prefix = "banyan-absent-"
    with tempfile.TemporaryDirectory(prefix=prefix) as one, tempfile.TemporaryDirectory(
        prefix=prefix, dir=arguments.away_directory
    ) as other:
        measure(arguments, [one, one, other])


if __name__ == "__main__":
    main()
