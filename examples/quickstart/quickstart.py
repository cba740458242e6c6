"""Writes, reads and clears a retained message at different nodes with paho-mqtt."""

import argparse
import queue
import sys

import paho.mqtt.client as mqtt

TOPIC = "quickstart/paho"
# The end of the retained messages is shown by a message of our own that follows them under the same filter.
END_TOPIC = f"{TOPIC}/end"
FILTER = f"{TOPIC}/#"  # the topic itself and everything beneath it
VERSIONS = {"3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}


class Node:
    """A connection to one node."""

    def __init__(self, address, version):
        self.address = address
        self.messages = queue.SimpleQueue()
        self.events = queue.SimpleQueue()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=version)
        self.client.on_connect = lambda _c, _d, _flags, reason, _p: self.events.put(reason)
        self.client.on_subscribe = lambda _c, _d, _mid, reasons, _p: self.events.put(reasons[0])
        self.client.on_message = lambda _c, _d, message: self.messages.put(message)
        host, port = address.rsplit(":", 1)
        try:
            self.client.connect(host, int(port))
        except OSError as error:
            raise SystemExit(f"{address}: {error}") from error
        self.client.loop_start()
        self.expect_success("CONNECT")

    def expect_success(self, what):
        reason = self.events.get(timeout=10)
        if reason.is_failure:
            raise SystemExit(f"{self.address}: {what} refused: {reason}")

    def write(self, payload):
        """Returns when the write is acknowledged: it is on a majority of disks then."""
        info = self.client.publish(TOPIC, payload, qos=1, retain=True)
        info.wait_for_publish(10)
        if not info.is_published():
            raise SystemExit(f"{self.address}: not acknowledged")

    def read(self):
        """The retained payload, or None."""
        self.client.subscribe(FILTER, qos=1)
        self.expect_success("SUBSCRIBE")
        self.client.publish(END_TOPIC, "end", qos=1)
        payload = None
        while True:
            message = self.messages.get(timeout=10)
            if message.topic == END_TOPIC:
                break
            payload = message.payload.decode()
        self.client.unsubscribe(FILTER)
        return payload

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mqtt", default="127.0.0.1:1883,127.0.0.1:1884,127.0.0.1:1885", help="HOST:PORT,...")
    parser.add_argument("--version", choices=VERSIONS, default="5")
    arguments = parser.parse_args()

    nodes = [Node(address, VERSIONS[arguments.version]) for address in arguments.mqtt.split(",")]
    ok = True
    for writer, payload in [(nodes[0], "hello"), (nodes[-1], "")]:
        writer.write(payload)
        print(f"{writer.address}: {'wrote ' + payload if payload else 'cleared'}")
        for reader in nodes:
            found = reader.read()
            ok = ok and found == (payload or None)
            print(f"  {reader.address}: {'nothing' if found is None else 'reads ' + found}")
    for node in nodes:
        node.close()
    print(f"MQTT {arguments.version}: {'ok' if ok else 'NOT as expected'}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
