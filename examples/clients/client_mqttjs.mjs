// MQTT.js

import { readFileSync } from 'node:fs'
import mqtt from 'mqtt'

const list = (name, fallback = '') => (process.env[name] ?? fallback).split(',')
const NODES = list('BANYAN_NODES', '127.0.0.1:1883,127.0.0.1:1884,127.0.0.1:1885')
const TIMEOUT = 15_000

class Client {
  constructor(client) {
    this.client = client
    this.arrived = []
    this.wanted = []
    client.on('message', (topic, payload) => {
      const message = [topic, payload.toString()]
      this.wanted.length ? this.wanted.shift()(message) : this.arrived.push(message)
    })
  }

  next(timeout = TIMEOUT) {
    if (this.arrived.length) return Promise.resolve(this.arrived.shift())
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.wanted.splice(this.wanted.indexOf(got), 1)
        reject(new Error('nothing came in time'))
      }, timeout)
      const got = (message) => {
        clearTimeout(timer)
        resolve(message)
      }
      this.wanted.push(got)
    })
  }

  publish(topic, payload, retain = false) {
    return this.client.publishAsync(topic, payload, { qos: 1, retain })
  }

  async subscribe(filter) {
    for (const grant of await this.client.subscribeAsync(filter, { qos: 1 })) {
      if (grant.qos >= 0x80) throw new Error(`${filter} refused: ${grant.qos}`)
    }
  }

  close() {
    return this.client.endAsync()
  }

  drop() {
    this.client.stream.destroy()
    this.client.end(true)
  }
}

function same(found, wanted) {
  const [a, b] = [found, wanted].map((value) => JSON.stringify(value))
  if (a !== b) throw new Error(`found ${a} instead of ${b}`)
}

class Suite {
  constructor(version) {
    this.version = version
    this.protocolVersion = version === '5' ? 5 : 4
  }

  topic(name) {
    return `clients/mqttjs/${this.version}/${name}`
  }

  async at(node, clientId, options) {
    return this.to(`mqtt://${NODES[node]}`, clientId, options)
  }

  // Messages may come with CONNACK: who takes them is there before it connects.
  to(url, clientId, { session = false, ...options } = {}) {
    return new Promise((resolve, reject) => {
      const client = mqtt.connect(url, {
        clientId: `mqttjs-${this.version}-${clientId}`,
        protocolVersion: this.protocolVersion,
        clean: !session,
        properties: session && this.protocolVersion === 5 ? { sessionExpiryInterval: 600 } : undefined,
        reconnectPeriod: 0,
        ...options,
      })
      const wrapped = new Client(client)
      client.once('connect', () => resolve(wrapped))
      client.once('error', reject)
      client.once('close', () => reject(new Error('closed before CONNACK')))
    })
  }

  async retained(node, filter) {
    const client = await this.at(node, `reader${node}`)
    await client.subscribe(filter)
    await client.subscribe(this.topic('end'))
    await client.publish(this.topic('end'), 'end')
    const found = {}
    for (;;) {
      const [topic, payload] = await client.next()
      if (topic === this.topic('end')) break
      found[topic] = payload
    }
    await client.close()
    return found
  }

  async connects() {
    for (const node of [0, 1, 2]) await (await this.at(node, `connect${node}`)).close()
  }

  async writesReadsClears() {
    const topic = this.topic('retained')
    const writer = await this.at(0, 'writer')
    await writer.publish(topic, 'value', true)
    same(await this.retained(1, topic), { [topic]: 'value' })
    const cleaner = await this.at(2, 'cleaner')
    await cleaner.publish(topic, '', true)
    same(await this.retained(0, topic), {})
    await Promise.all([writer.close(), cleaner.close()])
  }

  async wildcards() {
    const subscriber = await this.at(1, 'wildcards')
    await subscriber.subscribe(this.topic('w/+/x'))
    const publisher = await this.at(2, 'publisher')
    for (const name of ['w/1/x', 'w/1/y', 'w/2/x', 'w/x', 'w/3/x/y']) await publisher.publish(this.topic(name), name)
    await subscriber.subscribe(this.topic('w/#'))
    await publisher.publish(this.topic('w/last'), 'last')
    const found = []
    while (found.at(-1) !== 'last') found.push((await subscriber.next())[1])
    same(found, ['w/1/x', 'w/2/x', 'last'])
    await Promise.all([subscriber.close(), publisher.close()])
  }

  async shared() {
    const members = [await this.at(0, 'member0'), await this.at(1, 'member1')]
    for (const member of members) await member.subscribe(`$share/mqttjs${this.version}/${this.topic('shared')}`)
    const publisher = await this.at(2, 'publisher')
    for (let count = 0; count < 20; count++) await publisher.publish(this.topic('shared'), String(count))
    const found = []
    for (const member of members) {
      const got = []
      try {
        for (;;) got.push(Number((await member.next(1500))[1]))
      } catch {
        if (!got.length) throw new Error('one member has everything')
      }
      found.push(...got)
    }
    same(found.sort((a, b) => a - b), [...Array(20).keys()])
    await Promise.all([...members, publisher].map((client) => client.close()))
  }

  async resumes() {
    const first = await this.at(0, 'session', { session: true })
    await first.subscribe(this.topic('session'))
    await first.close()
    const publisher = await this.at(1, 'publisher')
    for (const payload of ['0', '1', '2']) await publisher.publish(this.topic('session'), payload)
    const second = await this.at(2, 'session', { session: true })
    const found = []
    while (found.length < 3) found.push((await second.next())[1])
    same(found, ['0', '1', '2'])
    await second.client.unsubscribeAsync(this.topic('session'))
    await Promise.all([second.close(), publisher.close()])
  }

  async wills() {
    const witness = await this.at(1, 'witness')
    await witness.subscribe(this.topic('will'))
    const mortal = await this.at(0, 'mortal', { will: { topic: this.topic('will'), payload: 'gone', qos: 1 } })
    mortal.drop()
    same(await witness.next(), [this.topic('will'), 'gone'])
    await witness.close()
  }

  async transport(name, url, reader, options) {
    const topic = this.topic(name)
    const client = await this.to(url, name, options)
    await client.publish(topic, 'x'.repeat(100_000), true)
    same(await this.retained(reader, topic), { [topic]: 'x'.repeat(100_000) })
    await client.publish(topic, '', true)
    await client.close()
  }

  async run() {
    const steps = [
      ['connect at every node', () => this.connects()],
      ['retained: written at 1, read at 2, cleared at 3, gone at 1', () => this.writesReadsClears()],
      ['wildcards at 2, published at 3', () => this.wildcards()],
      ['shared subscription at 1 and 2, published at 3', () => this.shared()],
      ['session of 1, published at 2, resumed at 3', () => this.resumes()],
      ['will of 1, seen at 2', () => this.wills()],
      ['TLS to 2, read at 3', () => this.transport('tls', `mqtts://${list('BANYAN_TLS')[1]}`, 2, { ca: readFileSync(process.env.BANYAN_CA) })],
      ['WebSocket to 3, read at 1', () => this.transport('ws', `ws://${list('BANYAN_WS')[2]}/mqtt`, 0)],
    ]
    let failures = 0
    for (const [what, step] of steps) {
      const head = `${'mqttjs'.padEnd(9)} ${this.version.padEnd(5)} ${what.padEnd(60)}`
      try {
        await step()
        console.log(head, 'ok')
      } catch (error) {
        failures += 1
        console.log(head, `FAILED: ${error.message}`)
      }
    }
    return failures
  }
}

let failures = 0
for (const version of ['5', '3.1.1']) failures += await new Suite(version).run()
process.exit(failures ? 1 : 0)
