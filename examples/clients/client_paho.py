"""paho-mqtt."""

import asyncio
import ssl

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import steps


class Client:
    def __init__(self, options):
        self.loop = asyncio.get_running_loop()
        self.messages = asyncio.Queue()
        self.waiting = {}
        transport = "websockets" if options.transport == "ws" else "tcp"
        arguments = {} if options.is_v5 else {"clean_session": not options.session}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            options.client_id,
            protocol=mqtt.MQTTv5 if options.is_v5 else mqtt.MQTTv311,
            transport=transport,
            **arguments,
        )
        if options.transport == "ws":
            self.client.ws_set_options(path="/mqtt")
        if options.transport == "tls":
            self.client.tls_set(ca_certs=steps.CA, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        if options.will:
            self.client.will_set(*options.will, qos=1)
        say = self.loop.call_soon_threadsafe
        self.client.on_connect = lambda _c, _d, _f, reason, _p: say(self.resolve, "connect", reason)
        self.client.on_subscribe = lambda _c, _d, mid, reasons, _p: say(self.resolve, mid, reasons[0])
        self.client.on_unsubscribe = lambda _c, _d, mid, _r, _p: say(self.resolve, mid, None)
        self.client.on_publish = lambda _c, _d, mid, reason, _p: say(self.resolve, mid, reason)
        self.client.on_message = lambda _c, _d, message: say(self.messages.put_nowait, message)

    def future(self, key):
        return self.waiting.setdefault(key, self.loop.create_future())

    def resolve(self, key, reason):
        future = self.future(key)
        if future.done():
            return
        if reason is not None and reason.is_failure:
            future.set_exception(steps.Failed(str(reason)))
        else:
            future.set_result(reason)

    async def wait(self, key):
        await asyncio.wait_for(self.future(key), steps.TIMEOUT)
        del self.waiting[key]

    async def connect(self, options):
        arguments = {}
        if options.is_v5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 600 if options.session else 0
            arguments = {"clean_start": not options.session, "properties": properties}
        await asyncio.to_thread(self.client.connect, options.host, options.port, **arguments)
        self.client.loop_start()
        await self.wait("connect")
        return self

    async def publish(self, topic, payload, qos, retain):
        await self.wait(self.client.publish(topic, payload, qos, retain).mid)

    async def subscribe(self, topic_filter, qos):
        await self.wait(self.client.subscribe(topic_filter, qos)[1])

    async def unsubscribe(self, topic_filter):
        await self.wait(self.client.unsubscribe(topic_filter)[1])

    async def next(self, timeout):
        message = await asyncio.wait_for(self.messages.get(), timeout)
        return message.topic, message.payload.decode()

    async def close(self):
        self.client.disconnect()
        await asyncio.to_thread(self.client.loop_stop)

    async def drop(self):
        """As a client that crashes: the socket goes, without DISCONNECT."""
        socket = self.client.socket()
        self.client._thread_terminate = True  # or it would connect again
        socket.close()


async def connect(options):
    return await Client(options).connect(options)


if __name__ == "__main__":
    steps.main("paho", connect, {"tls", "ws"})
