"""Reads the cities back from every node, in every way, and compares them with the data set."""

import argparse
import base64
import json
import queue
import sys
import time
import urllib.parse
import urllib.request

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cities import cities

# A retained set is complete when nothing more arrives for this long.
QUIET_S = 2.0
FILTERS = ["cities/#", "cities/+/NL/#"]


def matching(messages, topic_filter):
    return {topic: payload for topic, payload in messages.items() if mqtt.topic_matches_sub(topic_filter, topic)}


def read_mqtt(address, topic_filter, expected_count, slow):
    """The retained messages of a filter. A slow reader takes 10 at a time and pauses after every 20."""
    arrived = queue.SimpleQueue()
    count = 0

    def on_connect(client, _data, _flags, reason, _properties):
        if reason.is_failure:
            arrived.put(f"CONNECT refused: {reason}")
        client.subscribe(topic_filter, qos=1)

    def on_subscribe(_client, _data, _mid, reasons, _properties):
        if reasons[0].is_failure:
            arrived.put(f"SUBSCRIBE refused: {reasons[0]}")

    def on_message(_client, _data, message):
        nonlocal count
        count += 1
        arrived.put(message)
        if slow and count % 20 == 0:
            time.sleep(0.005)  # holds back the acknowledgement, as this runs before it is sent

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
    properties = Properties(PacketTypes.CONNECT)
    if slow:
        properties.ReceiveMaximum = 10
    host, port = address.rsplit(":", 1)
    client.connect(host, int(port), clean_start=True, properties=properties)
    client.loop_start()
    found = {}
    try:
        while True:
            complete = len(found) >= expected_count
            try:
                message = arrived.get(timeout=QUIET_S if complete else 30)
            except queue.Empty:
                return found
            if isinstance(message, str):
                raise RuntimeError(message)
            if not message.retain:
                raise RuntimeError(f"{message.topic} came without RETAIN")
            if message.topic in found:
                raise RuntimeError(f"{message.topic} came twice")
            found[message.topic] = message.payload
    finally:
        client.disconnect()
        client.loop_stop()


def get(url, accept):
    request = urllib.request.Request(url, headers={"Accept": accept})
    return urllib.request.urlopen(request, timeout=60)


def item_payload(item):
    if "json" in item:
        return json.dumps(item["json"], ensure_ascii=False, separators=(",", ":")).encode()
    if "payload_base64" in item:
        return base64.b64decode(item["payload_base64"])
    return item["payload"].encode()


def add_item(found, item):
    if item["topic"] in found:
        raise RuntimeError(f"{item['topic']} came twice")
    found[item["topic"]] = item_payload(item)


def read_http_pages(base, topic_filter):
    found, cursor, revisions = {}, None, set()
    while True:
        query = {"filter": topic_filter, "limit": 1000}
        if cursor is not None:
            query["cursor"] = cursor
        with get(f"{base}/v1/topics?{urllib.parse.urlencode(query)}", "application/json") as response:
            page = json.load(response)
        for item in page["items"]:
            add_item(found, item)
        revisions.add(page["revision"])
        cursor = page["next"]
        if cursor is None:
            break
    if len(revisions) != 1:
        raise RuntimeError(f"pages of different revisions: {sorted(revisions)}")
    return found


def read_http_ndjson(base, topic_filter):
    found, ended = {}, False
    query = urllib.parse.urlencode({"filter": topic_filter})
    with get(f"{base}/v1/topics?{query}", "application/x-ndjson") as response:
        for line in response:
            item = json.loads(line)
            if item.get("end"):
                ended = True
            else:
                add_item(found, item)
    if not ended:
        raise RuntimeError("the stream ended without its last line")
    return found


def difference(found, expected, is_json):
    """What is wrong, in a few words; empty if nothing is."""
    missing = expected.keys() - found.keys()
    surplus = found.keys() - expected.keys()
    same = (lambda a, b: json.loads(a) == json.loads(b)) if is_json else (lambda a, b: a == b)
    other = [topic for topic in expected.keys() & found.keys() if not same(expected[topic], found[topic])]
    parts = [("missing", missing), ("too many", surplus), ("with another payload", other)]
    return ", ".join(f"{len(topics)} {what} ({sorted(topics)[0]} ...)" for what, topics in parts if topics)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mqtt", default="127.0.0.1:1883,127.0.0.1:1884,127.0.0.1:1885", help="HOST:PORT,...")
    parser.add_argument(
        "--http", default="http://127.0.0.1:8080,http://127.0.0.1:8081,http://127.0.0.1:8082", help="URL,..."
    )
    arguments = parser.parse_args()
    addresses = arguments.mqtt.split(",")
    bases = [base for base in arguments.http.split(",") if base]

    messages = cities()
    failures = 0
    print(f"{'from':<24}{'how':<16}{'filter':<16}{'topics':>8}{'expected':>10}{'seconds':>9}")
    for topic_filter in FILTERS:
        expected = matching(messages, topic_filter)
        reads = []
        for address in addresses:
            reads.append((address, "MQTT", lambda a=address: read_mqtt(a, topic_filter, len(expected), False)))
            reads.append((address, "MQTT, slow", lambda a=address: read_mqtt(a, topic_filter, len(expected), True)))
        for base in bases:
            reads.append((base, "HTTP pages", lambda b=base: read_http_pages(b, topic_filter)))
            reads.append((base, "HTTP NDJSON", lambda b=base: read_http_ndjson(b, topic_filter)))
        for source, how, read in reads:
            start = time.monotonic()
            try:
                found = read()
                problem = difference(found, expected, how.startswith("HTTP"))
            except Exception as error:  # the other reads shall still be tried
                found, problem = {}, f"{type(error).__name__}: {error}"
            seconds = time.monotonic() - start
            failures += bool(problem)
            print(
                f"{source:<24}{how:<16}{topic_filter:<16}{len(found):>8}{len(expected):>10}{seconds:>9.1f}"
                f"{'  ' + problem if problem else ''}",
                flush=True,
            )
    print("everything is as loaded" if failures == 0 else f"{failures} reads differ")
    return 0 if failures == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
