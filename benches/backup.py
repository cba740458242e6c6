#!/usr/bin/env python3
"""A backup of many topics under load: how fast, what it costs those who write, and whether it is the same elsewhere.

    cargo build --release -p banyan-node -p banyan-cli -p banyan-bench && benches/backup.py

Runs a playground in a temporary directory, fills it, measures writes without and with backups going on, verifies the last
backup, restores it to three other data directories at other addresses, starts them, and compares revision and digest.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

MQTT, HTTP, PEER = 21883, 28080, 27400


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="target/release", help="where the programs are")
    parser.add_argument("--topics", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=30, help="of load without backups")
    parser.add_argument("--payload", type=int, default=128)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--inflight", type=int, default=4)
    parser.add_argument("--backups", type=int, default=2, help="one after the other, each with load of its own")
    parser.add_argument("--rate", help="bytes per second of a backup, as for banyanctl")
    parser.add_argument("--keep", action="store_true", help="leave the directory")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="banyan-backup-"))
    try:
        run(options, directory)
    finally:
        if options.keep:
            print(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)


def run(options, directory):
    programs = Path(options.bin).resolve()

    def ctl(*arguments, port=HTTP):
        command = [programs / "banyanctl", "--endpoint", f"http://127.0.0.1:{port}", "-o", "json", *map(str, arguments)]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

    def load(*arguments):
        addresses = ",".join(f"127.0.0.1:{MQTT + index}" for index in range(3))
        command = [
            programs / "banyan-bench", "write", "--json", "--addresses", addresses, "--topics", options.topics,
            "--payload", options.payload, *arguments,
        ]
        return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE)

    def report(process):
        out, _ = process.communicate()
        return json.loads(out)

    with nodes([playground(programs, directory / "old")], HTTP, directory):
        print(f"filling {options.topics:,} topics of {options.payload} bytes")
        filled = report(load("--count", options.topics, "--warmup", 0, "--connections", 16, "--inflight", 64))
        show("filled", filled)
        steady = ["--connections", options.connections, "--inflight", options.inflight]
        without = report(load(*steady, "--seconds", options.seconds))
        show("without", without)
        rate = ["--rate", options.rate] if options.rate else []
        for number in range(options.backups):
            # Ended by hand once the backup is there.
            running = load(*steady, "--seconds", 3600)
            time.sleep(3)
            saved = ctl("snapshot", "save", directory / f"backup-{number}", *rate)
            running.send_signal(signal.SIGINT)
            measured = report(running)
            show("with", measured)
            print(
                f"backup   revision {saved['revision']}  {saved['topics']:,} topics  {saved['bytes'] / 2**20:.1f} MiB in "
                f"{saved['duration_s']:.1f} s  {saved['rate'] / 2**20:.1f} MiB/s  "
                f"{saved['rows'] / saved['duration_s']:,.0f} rows/s"
            )
            print(
                f"p99 with / without: {p99(measured) / p99(without):.2f}   "
                f"rate with / without: {per_second(measured) / per_second(without):.2f}"
            )
    started = time.monotonic()
    verified = ctl("snapshot", "verify", directory / f"backup-{options.backups - 1}")
    print(f"verified in {time.monotonic() - started:.1f} s, digest {verified['digest']}")

    members = [f"{11 + index}@127.0.0.1:{PEER + 100 + index}" for index in range(3)]
    commands = []
    for index in range(3):
        data_dir = directory / "new" / str(index)
        data_dir.parent.mkdir(exist_ok=True)
        started = time.monotonic()
        restored = ctl(
            "snapshot", "restore", directory / f"backup-{options.backups - 1}", "--data-dir", data_dir,
            "--node-id", 11 + index, "--member", ",".join(members),
        )
        print(f"restored node {11 + index} in {time.monotonic() - started:.1f} s, digest {restored['digest']}")
        assert restored["digest"] == verified["digest"]
        commands.append([
            programs / "banyan", "--data-dir", data_dir, "--node-id", 11 + index, "--bootstrap",
            "--members", ",".join(members), "--mqtt", f"127.0.0.1:{MQTT + 100 + index}",
            "--http", f"127.0.0.1:{HTTP + 100 + index}", "--peer", f"127.0.0.1:{PEER + 100 + index}",
        ])
    with nodes(commands, HTTP + 100, directory):
        again = ctl("snapshot", "save", directory / "again", port=HTTP + 101)
        for name in ("revision", "topics", "data_digest"):
            print(f"{name:<12} {verified[name]}  restored cluster: {again[name]}")
            assert verified[name] == again[name], name
    print("equal")


def playground(programs, directory):
    return [
        programs / "banyan", "playground", "--data-dir", directory,
        "--mqtt", MQTT, "--http", HTTP, "--peer", PEER,
    ]


class nodes:
    """Runs commands until the block ends; enters it when three nodes from `port` on are ready."""

    def __init__(self, commands, port, directory):
        self.commands, self.port, self.directory = commands, port, directory

    def __enter__(self):
        log = open(self.directory / "nodes.log", "ab")
        self.running = [subprocess.Popen(list(map(str, command)), stdout=log, stderr=log) for command in self.commands]
        deadline = time.monotonic() + 60
        ready = set()
        while len(ready) < 3:
            if time.monotonic() > deadline:
                self.__exit__()
                sys.exit((self.directory / "nodes.log").read_text()[-3000:])
            for index in range(3):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{self.port + index}/health/ready", timeout=2)
                    ready.add(index)
                except OSError:
                    time.sleep(0.1)

    def __exit__(self, *_):
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            process.wait(30)


def p99(report):
    return report["latency_us"]["p99"]


def per_second(report):
    return report["acknowledged_per_s"]


def show(name, report):
    latency = {key: f"{value / 1000:.1f}" for key, value in report["latency_us"].items() if key in ("p50", "p99", "p99_9", "max")}
    text = "  ".join(f"{key} {value}" for key, value in latency.items())
    print(
        f"{name:<8} {text} ms  {per_second(report):,.0f} writes/s  "
        f"unacknowledged {report['unacknowledged']}", flush=True
    )


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent.parent)
    main()
