"""What every Python client is asked to do, each step at another of three nodes.

A client is an adapter: `await connect(Options)` gives an object with `publish`, `subscribe`, `unsubscribe`, `next`, `close`, `drop`.
"""

import asyncio
import os
import sys
from dataclasses import dataclass

NODES = os.environ.get("BANYAN_NODES", "127.0.0.1:1883,127.0.0.1:1884,127.0.0.1:1885").split(",")
TLS = os.environ.get("BANYAN_TLS", "").split(",")
WS = os.environ.get("BANYAN_WS", "").split(",")
CA = os.environ.get("BANYAN_CA")
TIMEOUT = 15
END = "end"  # behind everything else that a subscriber gets


@dataclass
class Options:
    address: str
    version: str
    client_id: str
    session: bool = False
    will: tuple | None = None
    transport: str = "tcp"

    @property
    def host(self):
        return self.address.rsplit(":", 1)[0]

    @property
    def port(self):
        return int(self.address.rsplit(":", 1)[1])

    @property
    def is_v5(self):
        return self.version == "5"


class Failed(Exception):
    pass


def same(found, wanted):
    if found != wanted:
        raise Failed(f"found {found!r} instead of {wanted!r}")


class Suite:
    def __init__(self, name, connect, version, transports):
        self.name, self.connect, self.version, self.transports = name, connect, version, transports
        self.prefix = f"clients/{name}/{version}"

    async def at(self, node, client_id, **options):
        options = Options(NODES[node], self.version, f"{self.name}-{self.version}-{client_id}", **options)
        return await self.connect(options)

    def topic(self, name):
        return f"{self.prefix}/{name}"

    async def retained(self, node, filter):
        """The retained messages of a filter, read at a node. One of our own behind them shows that there are no more."""
        client = await self.at(node, f"reader{node}")
        await client.subscribe(filter, 1)
        await client.subscribe(self.topic(END), 1)
        await client.publish(self.topic(END), END, 1, False)
        found = {}
        while True:
            topic, payload = await client.next(TIMEOUT)
            if topic == self.topic(END):
                break
            found[topic] = payload
        await client.close()
        return found

    async def connects(self):
        for node in range(3):
            client = await self.at(node, f"connect{node}")
            await client.close()

    async def writes_reads_clears(self):
        topic = self.topic("retained")
        writer = await self.at(0, "writer")
        await writer.publish(topic, "value", 1, True)
        same(await self.retained(1, topic), {topic: "value"})
        cleaner = await self.at(2, "cleaner")
        await cleaner.publish(topic, "", 1, True)
        same(await self.retained(0, topic), {})
        await writer.close()
        await cleaner.close()

    async def wildcards(self):
        subscriber = await self.at(1, "wildcards")
        await subscriber.subscribe(self.topic("w/+/x"), 1)
        publisher = await self.at(2, "publisher")
        for name in ["w/1/x", "w/1/y", "w/2/x", "w/x", "w/3/x/y"]:
            await publisher.publish(self.topic(name), name, 1, False)
        await subscriber.subscribe(self.topic("w/#"), 1)
        await publisher.publish(self.topic("w/last"), "last", 1, False)
        found = []
        while not found or found[-1] != "last":
            found.append((await subscriber.next(TIMEOUT))[1])
        same(found, ["w/1/x", "w/2/x", "last"])
        await subscriber.close()
        await publisher.close()

    async def shared(self):
        members = [await self.at(node, f"member{node}") for node in (0, 1)]
        for member in members:
            await member.subscribe(f"$share/{self.name}{self.version}/{self.topic('shared')}", 1)
        publisher = await self.at(2, "publisher")
        for count in range(20):
            await publisher.publish(self.topic("shared"), str(count), 1, False)
        found = [[], []]
        for member, got in zip(members, found):
            while True:
                try:
                    got.append(int((await member.next(1.5))[1]))
                except asyncio.TimeoutError:
                    break
        same(sorted(found[0] + found[1]), list(range(20)))
        if not found[0] or not found[1]:
            raise Failed(f"one member has everything: {found}")
        for client in [*members, publisher]:
            await client.close()

    async def resumes(self):
        first = await self.at(0, "session", session=True)
        await first.subscribe(self.topic("session"), 1)
        await first.close()
        publisher = await self.at(1, "publisher")
        for count in range(3):
            await publisher.publish(self.topic("session"), str(count), 1, False)
        second = await self.at(2, "session", session=True)
        same([(await second.next(TIMEOUT))[1] for _ in range(3)], ["0", "1", "2"])
        await second.unsubscribe(self.topic("session"))
        await second.close()
        await publisher.close()

    async def wills(self):
        witness = await self.at(1, "witness")
        await witness.subscribe(self.topic("will"), 1)
        mortal = await self.at(0, "mortal", will=(self.topic("will"), "gone"))
        await mortal.drop()
        same(await witness.next(TIMEOUT), (self.topic("will"), "gone"))
        await witness.close()

    async def transport(self, kind, addresses, node, reader):
        options = Options(addresses[node], self.version, f"{self.name}-{self.version}-{kind}", transport=kind)
        client = await self.connect(options)
        topic = self.topic(kind)
        await client.publish(topic, "x" * 100_000, 1, True)
        same(await self.retained(reader, topic), {topic: "x" * 100_000})
        await client.publish(topic, "", 1, True)
        await client.close()

    async def tls(self):
        await self.transport("tls", TLS, 1, 2)

    async def websocket(self):
        await self.transport("ws", WS, 2, 0)

    async def run(self):
        steps = [
            ("connect at every node", self.connects),
            ("retained: written at 1, read at 2, cleared at 3, gone at 1", self.writes_reads_clears),
            ("wildcards at 2, published at 3", self.wildcards),
            ("shared subscription at 1 and 2, published at 3", self.shared),
            ("session of 1, published at 2, resumed at 3", self.resumes),
            ("will of 1, seen at 2", self.wills),
            ("TLS to 2, read at 3", self.tls if "tls" in self.transports else None),
            ("WebSocket to 3, read at 1", self.websocket if "ws" in self.transports else None),
        ]
        failures = 0
        for what, step in steps:
            head = f"{self.name:9} {self.version:5} {what:60}"
            if step is None:
                print(head, "- this client has none", flush=True)
                continue
            try:
                await asyncio.wait_for(step(), 120)
                print(head, "ok", flush=True)
            except Exception as error:  # every kind of failure is a failure
                failures += 1
                print(head, f"FAILED: {type(error).__name__}: {error}", flush=True)
        return failures


def main(name, connect, transports):
    async def both():
        failures = 0
        for version in ["5", "3.1.1"]:
            failures += await Suite(name, connect, version, transports).run()
        return failures

    sys.exit(1 if asyncio.run(both()) else 0)
