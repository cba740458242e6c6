// Writes, reads and clears a retained message at different nodes with MQTT.js.
//
//     node quickstart.mjs [PROTOCOL_LEVEL: 5 or 4] [HOST:PORT,...]

import mqtt from 'mqtt'

const topic = 'quickstart/mqttjs'
// The end of the retained messages is shown by a message of our own that follows them under the same filter.
const endTopic = `${topic}/end`
const filter = `${topic}/#` // the topic itself and everything beneath it

const protocolVersion = Number(process.argv[2] ?? 5)
const addresses = (process.argv[3] ?? '127.0.0.1:1883,127.0.0.1:1884,127.0.0.1:1885').split(',')

async function read(node) {
  let payload = null
  const ended = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('no answer within 10 s')), 10_000)
    node.on('message', (name, message) => {
      if (name === endTopic) {
        clearTimeout(timer)
        resolve()
      } else {
        payload = message.toString()
      }
    })
  })
  for (const grant of await node.subscribeAsync(filter, { qos: 1 })) {
    if (grant.qos >= 0x80) throw new Error(`SUBSCRIBE refused: ${grant.qos}`)
  }
  await node.publishAsync(endTopic, 'end', { qos: 1 })
  await ended
  node.removeAllListeners('message')
  await node.unsubscribeAsync(filter)
  return payload
}

const nodes = await Promise.all(
  addresses.map((address) => mqtt.connectAsync(`mqtt://${address}`, { protocolVersion, reconnectPeriod: 0 }))
)
let ok = true
for (const [writer, payload] of [[0, 'hello'], [nodes.length - 1, '']]) {
  await nodes[writer].publishAsync(topic, payload, { qos: 1, retain: true })
  console.log(`${addresses[writer]}: ${payload ? `wrote ${payload}` : 'cleared'}`)
  for (const [index, node] of nodes.entries()) {
    const found = await read(node)
    ok &&= found === (payload || null)
    console.log(`  ${addresses[index]}: ${found === null ? 'nothing' : `reads ${found}`}`)
  }
}
await Promise.all(nodes.map((node) => node.endAsync()))
console.log(`MQTT.js, protocol level ${protocolVersion}: ${ok ? 'ok' : 'NOT as expected'}`)
process.exit(ok ? 0 : 1)
