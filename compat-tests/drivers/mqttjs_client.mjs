// Keeps MQTT.js clients for the tests: commands come and events go as JSON lines, each with its client's number.
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

const require = createRequire(process.env.PEERS_NPM + '/node_modules/')
const mqtt = require('mqtt')

const emit = (client, event, fields = {}) => process.stdout.write(JSON.stringify({ client, event, ...fields }) + '\n')

class Client {
  constructor (number) {
    this.emit = (event, fields) => emit(number, event, fields)
  }

  connect ({ host, port, transport, path, authority, client_id, clean_session, keep_alive_s, will, user_name, password }) {
    const scheme = { tcp: 'mqtt', tls: 'mqtts', ws: 'ws', wss: 'wss' }[transport]
    // It forgets the stores of its own making when it is told to connect again.
    this.stores = { incomingStore: new mqtt.Store({ clean: false }), outgoingStore: new mqtt.Store({ clean: false }) }
    const secure = transport === 'tls' || transport === 'wss'
    this.client = mqtt.connect(`${scheme}://${host}:${port}${scheme.startsWith('ws') ? path : ''}`, {
      ...this.stores,
      protocolVersion: 4,
      clientId: client_id,
      clean: clean_session,
      keepalive: keep_alive_s,
      reconnectPeriod: 0,
      resubscribe: false,
      connectTimeout: 10000,
      ...(secure && { ca: readFileSync(authority) }),
      ...(will && { will: { topic: will.topic, payload: Buffer.from(will.payload, 'base64'), qos: will.qos, retain: will.retain } }),
      ...(user_name !== null && { username: user_name }),
      ...(password !== null && { password })
    })
    this.client.on('connect', connack => this.emit('connected', { session_present: connack.sessionPresent }))
    this.client.on('error', error => {
      this.why = error.message
      if (/Connection refused:/.test(error.message)) this.emit('refused', { why: error.message })
    })
    this.client.on('close', () => this.emit('closed', { why: this.why ?? 'closed' }))
    this.client.on('message', (topic, payload, packet) => {
      this.emit('message', { topic, payload: payload.toString('base64'), qos: packet.qos, retain: packet.retain, dup: packet.dup })
    })
  }

  resume () {
    this.client.reconnect(this.stores)
  }

  answered (event, ticket) {
    return error => error ? this.emit('error', { why: error.message }) : this.emit(event, { ticket })
  }

  subscribe ({ ticket, filters }) {
    const wanted = Object.fromEntries(filters.map(([filter, qos]) => [filter, { qos }]))
    this.client.subscribe(wanted, (error, _granted, packet) => {
      const codes = packet?.granted ?? error?.packet?.granted
      if (codes) this.emit('subscribed', { ticket, codes })
      else this.emit('error', { why: error?.message ?? 'no SUBACK' })
    })
  }

  unsubscribe ({ ticket, filters }) {
    this.client.unsubscribe(filters, this.answered('unsubscribed', ticket))
  }

  publish ({ ticket, topic, payload, qos, retain }) {
    this.client.publish(topic, Buffer.from(payload, 'base64'), { qos, retain }, this.answered('published', ticket))
  }

  disconnect () {
    this.client.end(false)
  }

  drop () {
    this.client.stream.destroy()
  }

  forget () {
    this.client?.removeAllListeners('close')
    this.client?.end(true)
  }
}

const clients = new Map()
for await (const line of createInterface({ input: process.stdin })) {
  const { client: number, do: name, ...fields } = JSON.parse(line)
  if (!clients.has(number)) clients.set(number, new Client(number))
  try {
    clients.get(number)[name](fields)
  } catch (error) {
    emit(number, 'error', { why: error.message })
  }
  if (name === 'forget') clients.delete(number)
}
process.exit(0)
