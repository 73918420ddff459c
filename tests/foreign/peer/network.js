// docs/protocol.md, "Network": the swarm, trade frames, how a service is found, gossip.
import { createLibp2p } from 'libp2p'
import { tcp } from '@libp2p/tcp'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { gossipsub } from '@libp2p/gossipsub'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { peerIdFromString } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import * as digest from 'multiformats/hashes/digest'
import { CID, NotUnderstood, must, concat, encode, decode, sha256, text } from './bytes.js'
import { didOf } from './statement.js'

const TRADE = '/guilder/trade/1'
const MAX_FRAME = 262_144
const RAW = 0x55
const SHA2_256 = 0x12

/** The numbers of the messages ("Trade messages"). */
export const KIND = {
  Query: 1,
  Advertised: 2,
  NotAdvertised: 3,
  Asked: 4,
  Offered: 5,
  Declined: 6,
  Awarded: 7,
  Accepted: 8,
  Refused: 9,
  Progress: 10,
  Delivered: 11,
  Status: 12,
  Unknown: 13,
  Cancel: 14,
  Schema: 15,
  Received: 16
}

/** "Finding a service": the CID whose multihash is the service's key. */
export function serviceCid (service) {
  return CID.createV1(RAW, digest.create(SHA2_256, sha256(text(`guilder/service/1/${service}`))))
}

export const topicOf = service => `/guilder/market/1/${service}`

export class Network {
  #listeners = new Map()
  #outgoing = new Map()

  /** Joins the swarm under an agent's key, through the peers at these addresses. */
  static async join (agent, bootstrap) {
    const network = new Network()
    network.node = await createLibp2p({
      privateKey: await generateKeyPairFromSeed('Ed25519', agent.seed),
      nodeInfo: { userAgent: 'guilder-foreign/1' },
      addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
      transports: [tcp()],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux()],
      services: {
        identify: identify(),
        ping: ping(),
        // On loopback the addresses of peers are private ones, which the library's default would leave out.
        dht: kadDHT({ protocol: '/guilder/kad/1', clientMode: false, peerInfoMapper: passthroughMapper }),
        gossip: gossipsub({
          globalSignaturePolicy: 'StrictSign',
          allowPublishToZeroTopicPeers: true,
          msgIdFn: ({ topic, data }) => sha256(concat(text(topic), Uint8Array.of(0), data))
        })
      }
    })
    await network.node.handle(TRADE, (stream, connection) => network.#listen(stream, connection))
    for (const address of bootstrap) await network.node.dial(multiaddr(address))
    return network
  }

  get peerId () {
    return this.node.peerId.toString()
  }

  async leave () {
    await this.node.stop()
  }

  // --- Trade frames

  /** Has `listener` called with the body of each message of this kind, and with who sent it: its peer ID and DID. */
  on (kind, listener) {
    this.#listeners.set(kind, [...(this.#listeners.get(kind) ?? []), listener])
  }

  off (kind, listener) {
    this.#listeners.set(kind, (this.#listeners.get(kind) ?? []).filter(other => other !== listener))
  }

  /** The next message of one of these kinds that `peer` sends and that fits; an error after `ms` without one. */
  next (peer, kinds, fits = () => true, ms = 30_000) {
    return new Promise((resolve, reject) => {
      const listeners = kinds.map(kind => [kind, (body, from) => {
        if (from.peer === peer && fits(body)) done(() => resolve({ kind, ...body }))
      }])
      const timer = setTimeout(() => done(() => reject(new Error(`${peer} sent none of ${kinds} in ${ms} ms`))), ms)
      const done = settle => {
        clearTimeout(timer)
        listeners.forEach(([kind, listener]) => this.off(kind, listener))
        settle()
      }
      listeners.forEach(([kind, listener]) => this.on(kind, listener))
    })
  }

  /** Sends a frame on the one stream that this side of the connection keeps for what it sends. */
  async send (peer, kind, body) {
    const frame = encode([kind, body])
    must(frame.length <= MAX_FRAME, 'a frame has at most 262,144 bytes')
    let stream = this.#outgoing.get(peer)
    if (stream?.writeStatus !== 'writable') {
      stream = await this.node.dialProtocol(peerIdFromString(peer), TRADE)
      this.#outgoing.set(peer, stream)
    }
    if (!stream.send(concat(varint(frame.length), frame))) await stream.onDrain()
  }

  async #listen (stream, connection) {
    const from = { peer: connection.remotePeer.toString(), did: didOf(connection.remotePeer.publicKey.raw) }
    const reader = new Reader(stream)
    try {
      for (;;) {
        const length = await reader.varint()
        must(length >= 1 && length <= MAX_FRAME, `a frame of ${length} bytes`)
        const frame = decode(await reader.exactly(length))
        must(Array.isArray(frame) && frame.length === 2 && Number.isSafeInteger(frame[0]), 'a frame is [kind, body]')
        // A frame of an unknown kind has no listener, and is dropped.
        for (const listener of this.#listeners.get(frame[0]) ?? []) tell(listener, frame[1], from)
      }
    } catch (error) {
      if (!reader.ended) stream.abort(error)
    }
  }

  // --- Finding a service

  /** The peers that say, in the table of `/guilder/kad/1`, that they provide the service. They are dialled by the way. */
  async findProviders (service, ms = 30_000) {
    const found = new Set()
    for await (const { id, multiaddrs } of this.node.contentRouting.findProviders(serviceCid(service), { signal: AbortSignal.timeout(ms) })) {
      const peer = id.toString()
      if (peer === this.peerId || found.has(peer)) continue
      await this.node.peerStore.merge(id, { multiaddrs })
      found.add(peer)
    }
    return [...found]
  }

  async provide (service) {
    await this.node.contentRouting.provide(serviceCid(service), { signal: AbortSignal.timeout(30_000) })
  }

  // --- Gossip

  /** Hears the bare envelopes on a service's topic. What `check` is true of is passed on; its sender is to blame for what it throws at. */
  hear (service, check, listener) {
    const { gossip } = this.node.services
    const topic = topicOf(service)
    gossip.topicValidators.set(topic, (_, { data }) => {
      try {
        return check(data) ? 'accept' : 'ignore'
      } catch (error) {
        return error instanceof NotUnderstood ? 'ignore' : 'reject'
      }
    })
    gossip.addEventListener('gossipsub:message', ({ detail: { msg, propagationSource } }) => {
      if (msg.topic === topic) listener(msg.data, propagationSource.toString())
    })
    gossip.subscribe(topic)
  }

  /** Waits until `peer` has been told what this one subscribes to. */
  async gossipsWith (peer) {
    while (!this.node.services.gossip.streamsOutbound.has(peer)) {
      await new Promise(resolve => setTimeout(resolve, 50))
    }
  }

  async publish (service, envelope) {
    await this.node.services.gossip.publish(topicOf(service), envelope)
  }

  /** A stream of another protocol to a peer. */
  async open (peer, protocol) {
    return await this.node.dialProtocol(peerIdFromString(peer), protocol)
  }
}

/** One message that can't be handled costs its sender points at most, not the stream. */
async function tell (listener, body, from) {
  try {
    await listener(body, from)
  } catch (error) {
    console.error(error)
  }
}

/** Reads exact numbers of bytes from a stream. */
export class Reader {
  #chunks
  #bytes = new Uint8Array(0)
  ended = false

  constructor (stream) {
    this.#chunks = stream[Symbol.asyncIterator]()
  }

  async exactly (count) {
    const parts = [this.#bytes]
    let have = this.#bytes.length
    while (have < count) {
      const { value, done } = await this.#chunks.next()
      if (done) {
        this.ended = true
        throw new Error('the stream ended')
      }
      parts.push(value.subarray())
      have += value.length
    }
    const all = parts.length === 1 ? parts[0] : concat(...parts)
    this.#bytes = all.subarray(count)
    return all.subarray(0, count)
  }

  /** An unsigned varint in its shortest form. */
  async varint () {
    let value = 0
    for (let shift = 0; shift < 28; shift += 7) {
      const [byte] = await this.exactly(1)
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) {
        must(byte !== 0 || shift === 0, 'a varint longer than it has to be')
        return value
      }
    }
    must(false, 'a varint that is too long')
  }

  async u32 () {
    const bytes = await this.exactly(4)
    return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)
  }
}

export function varint (value) {
  const bytes = []
  for (; value >= 0x80; value >>>= 7) bytes.push((value & 0x7f) | 0x80)
  return Uint8Array.of(...bytes, value)
}

export function u32 (value) {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value)
  return bytes
}
