"""Publishes every city as a retained message, through all nodes in turn."""

import argparse
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cities import cities


class Loader:
    """One connection that keeps a bounded number of messages in flight."""

    def __init__(self, address, window):
        self.address = address
        self.refused = []
        self.acknowledged = 0
        self.window = threading.BoundedSemaphore(window)
        self.size = window
        self.connected = threading.Event()
        self.properties = Properties(PacketTypes.PUBLISH)
        self.properties.ContentType = "application/json"
        self.properties.PayloadFormatIndicator = 1
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.max_inflight_messages_set(window)
        self.client.on_connect = self.on_connect
        self.client.on_publish = self.on_publish
        host, port = address.rsplit(":", 1)
        try:
            self.client.connect(host, int(port))
        except OSError as error:
            raise SystemExit(f"{address}: {error}") from error
        self.client.loop_start()
        if not self.connected.wait(10):
            raise SystemExit(f"{address}: no answer to CONNECT")

    def on_connect(self, _client, _data, _flags, reason, _properties):
        if reason.is_failure:
            print(f"{self.address}: CONNECT refused: {reason}", file=sys.stderr)
        else:
            self.connected.set()

    def on_publish(self, _client, _data, _mid, reason, _properties):
        if reason.is_failure:
            self.refused.append(str(reason))
        else:
            self.acknowledged += 1
        self.window.release()

    def publish(self, topic, payload):
        """Returns when there is room in the window, at most until the broker is considered gone."""
        if not self.window.acquire(timeout=60):
            raise SystemExit(f"{self.address}: no acknowledgement for 60 s")
        self.client.publish(topic, payload, qos=1, retain=True, properties=self.properties)

    def finish(self):
        """Waits for the last acknowledgements."""
        for _ in range(self.size):
            if not self.window.acquire(timeout=60):
                raise SystemExit(f"{self.address}: no acknowledgement for 60 s")
        self.client.disconnect()
        self.client.loop_stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mqtt", default="127.0.0.1:1883,127.0.0.1:1884,127.0.0.1:1885", help="HOST:PORT,...")
    parser.add_argument("--inflight", type=int, default=64, help="messages in flight of each connection")
    arguments = parser.parse_args()

    messages = cities()
    loaders = [Loader(address, arguments.inflight) for address in arguments.mqtt.split(",")]
    start = time.monotonic()
    for index, (topic, payload) in enumerate(messages.items()):
        loaders[index % len(loaders)].publish(topic, payload)
    for loader in loaders:
        loader.finish()
    seconds = time.monotonic() - start

    acknowledged = sum(loader.acknowledged for loader in loaders)
    for loader in loaders:
        print(f"{loader.address}: {loader.acknowledged} acknowledged, {len(loader.refused)} refused {loader.refused[:1]}")
    print(f"{acknowledged} of {len(messages)} cities in {seconds:.1f} s, {acknowledged / seconds:.0f}/s")
    return 0 if acknowledged == len(messages) else 1


if __name__ == "__main__":
    sys.exit(main())
