"""gmqtt."""

import asyncio
import logging
import ssl

import gmqtt
from gmqtt.mqtt.constants import MQTTv50, MQTTv311

import steps

logging.getLogger("gmqtt").setLevel(logging.CRITICAL)


class Client:
    def __init__(self, options):
        self.messages = asyncio.Queue()
        self.waiting = {}
        arguments = {"session_expiry_interval": 600} if options.is_v5 and options.session else {}
        if options.will:
            arguments["will_message"] = gmqtt.Message(*options.will, qos=1)
        self.client = gmqtt.Client(options.client_id, clean_session=not options.session, **arguments)
        self.client.set_config({"reconnect_retries": 0})
        self.client.on_message = self.on_message
        self.client.on_subscribe = lambda _c, mid, qos, _p: self.resolve(mid, qos[0])
        self.client.on_unsubscribe = lambda _c, mid, *_: self.resolve(mid, 0)

    def on_message(self, _client, topic, payload, _qos, _properties):
        self.messages.put_nowait((topic, payload.decode()))
        return 0  # PUBACK 0x00

    def future(self, key):
        return self.waiting.setdefault(key, asyncio.get_running_loop().create_future())

    def resolve(self, key, code):
        if code >= 0x80:
            self.future(key).set_exception(steps.Failed(f"code {code:#x}"))
        else:
            self.future(key).set_result(code)

    async def connect(self, options):
        context = ssl.create_default_context(cafile=steps.CA) if options.transport == "tls" else False
        version = MQTTv50 if options.is_v5 else MQTTv311
        await self.client.connect(options.host, options.port, ssl=context, version=version)
        return self

    async def publish(self, topic, payload, qos, retain):
        self.client.publish(topic, payload, qos=qos, retain=retain)
        # It has no callback for PUBACK: what is not acknowledged is in its storage.
        async with asyncio.timeout(steps.TIMEOUT):
            while not self.client._persistent_storage.is_empty:
                await asyncio.sleep(0.005)

    async def subscribe(self, topic_filter, qos):
        mid = self.client.subscribe(topic_filter, qos=qos)
        await asyncio.wait_for(self.future(mid), steps.TIMEOUT)

    async def unsubscribe(self, topic_filter):
        mid = self.client.unsubscribe(topic_filter)
        await asyncio.wait_for(self.future(mid), steps.TIMEOUT)

    async def next(self, timeout):
        return await asyncio.wait_for(self.messages.get(), timeout)

    async def close(self):
        await self.client.disconnect()

    async def drop(self):
        """As a client that crashes: the socket goes, without DISCONNECT."""
        self.client._is_active = False  # or it would connect again
        self.client._connection._transport.abort()


async def connect(options):
    return await Client(options).connect(options)


if __name__ == "__main__":
    steps.main("gmqtt", connect, {"tls"})
