// Runs the broker aedes: arguments are certificate, key, and a URL for each listener. Prints `listening URL` for each.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { readFileSync } from 'node:fs'
import net from 'node:net'
import tls from 'node:tls'
import http from 'node:http'
import https from 'node:https'

const require = createRequire(process.env.PEERS_NPM + '/node_modules/')
const load = async name => import(pathToFileURL(require.resolve(name)))
const { Aedes } = await load('aedes')
const { WebSocketServer, createWebSocketStream } = (await load('ws')).default

const [certificate, key, ...urls] = process.argv.slice(2)
const secure = { cert: readFileSync(certificate), key: readFileSync(key) }
const broker = await Aedes.createBroker()

function webSocket (server) {
  const sockets = new WebSocketServer({ server, handleProtocols: offered => offered.has('mqtt') && 'mqtt' })
  sockets.on('connection', (socket, request) => broker.handle(createWebSocketStream(socket), request))
  return server
}

const make = {
  'mqtt:': () => net.createServer({ noDelay: true }, broker.handle),
  'mqtts:': () => tls.createServer({ ...secure, noDelay: true }, broker.handle),
  'ws:': () => webSocket(http.createServer()),
  'wss:': () => webSocket(https.createServer(secure))
}

for (const text of urls) {
  const url = new URL(text)
  const server = make[url.protocol]()
  server.listen(Number(url.port), url.hostname, () => console.log(`listening ${url.protocol}//${url.hostname}:${server.address().port}`))
}

process.on('SIGTERM', () => process.exit(0))
