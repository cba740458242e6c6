"""aiomqtt."""

import asyncio
import ssl

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import steps


class Client:
    def __init__(self, options):
        arguments = {}
        if options.is_v5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 600 if options.session else 0
            arguments = {"clean_start": not options.session, "properties": properties}
        else:
            arguments = {"clean_session": not options.session}
        if options.transport == "ws":
            arguments |= {"transport": "websockets", "websocket_path": "/mqtt"}
        if options.transport == "tls":
            arguments["tls_context"] = ssl.create_default_context(cafile=steps.CA)
        if options.will:
            arguments["will"] = aiomqtt.Will(*options.will, qos=1)
        self.client = aiomqtt.Client(
            options.host,
            options.port,
            identifier=options.client_id,
            protocol=aiomqtt.ProtocolVersion.V5 if options.is_v5 else aiomqtt.ProtocolVersion.V311,
            **arguments,
        )

    async def connect(self):
        await self.client.__aenter__()
        return self

    async def publish(self, topic, payload, qos, retain):
        await self.client.publish(topic, payload, qos, retain)

    async def subscribe(self, topic_filter, qos):
        await self.client.subscribe(topic_filter, qos)

    async def unsubscribe(self, topic_filter):
        await self.client.unsubscribe(topic_filter)

    async def next(self, timeout):
        message = await asyncio.wait_for(anext(aiter(self.client.messages)), timeout)
        return str(message.topic), message.payload.decode()

    async def close(self):
        await self.client.__aexit__(None, None, None)

    async def drop(self):
        """As a client that crashes: the socket goes, without DISCONNECT."""
        self.client._client._sock_close()


async def connect(options):
    return await Client(options).connect()


if __name__ == "__main__":
    steps.main("aiomqtt", connect, {"tls", "ws"})
