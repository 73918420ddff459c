// docs/protocol.md, "Content": inputs and outputs over 64 KiB.
import { must, same, concat, encode, decode, sha256, bytesToHex, chunkDigests, contentHash, contentHashOf, CHUNK } from './bytes.js'
import { Reader, u32 } from './network.js'

const PROTOCOL = '/guilder/content/1'
const MAX_INLINE = 65_536
const MAX_CONTENT = 67_108_864
const MAX_REQUEST = 512
const MAX_ANSWER = 8_704

export class Contents {
  #network
  #shared = new Map()

  static async on (network) {
    const contents = new Contents()
    contents.#network = network
    await network.node.handle(PROTOCOL, (stream, connection) => contents.#serve(stream, connection.remotePeer.toString()))
    return contents
  }

  /** A payload: the bytes themselves, or the name of a content that `peer` may fetch from now on. */
  payload (bytes, peer) {
    if (bytes.length <= MAX_INLINE) return { inline: bytes }
    const hash = contentHash(bytes)
    this.#shared.set(`${peer} ${bytesToHex(hash)}`, bytes)
    return { content: { hash, size: bytes.length } }
  }

  /** The bytes of a payload that `peer` sent, fetched from it where they aren't inline. */
  async bytesOf (payload, peer) {
    if (payload.inline !== undefined) {
      must(payload.inline instanceof Uint8Array && payload.inline.length <= MAX_INLINE, 'an inline payload has at most 65,536 bytes')
      return payload.inline
    }
    return await this.#fetch(payload.content, peer)
  }

  async #fetch ({ hash, size }, peer) {
    must(hash instanceof Uint8Array && hash.length === 32, 'a hash has 32 bytes')
    must(Number.isSafeInteger(size) && size >= 0 && size <= MAX_CONTENT, `a content of ${size} bytes`)
    const stream = await this.#network.open(peer, PROTOCOL)
    const request = encode({ id: { hash, size }, from: 0 })
    stream.send(concat(u32(request.length), request))
    const reader = new Reader(stream)
    const length = await reader.u32()
    must(length <= MAX_ANSWER, `an answer of ${length} bytes`)
    const answer = decode(await reader.exactly(length))
    must(answer.chunks instanceof Uint8Array, `refused: ${answer.refused}`)
    must(same(contentHashOf(size, answer.chunks), hash), 'the digests of the chunks give another hash')
    const chunks = []
    for (let at = 0; at < size; at += CHUNK) {
      const chunk = await reader.exactly(Math.min(CHUNK, size - at))
      const place = at / CHUNK * 32
      must(same(sha256(chunk), answer.chunks.subarray(place, place + 32)), 'a chunk with another digest')
      chunks.push(chunk)
    }
    await stream.close()
    return concat(...chunks)
  }

  async #serve (stream, peer) {
    try {
      const reader = new Reader(stream)
      const length = await reader.u32()
      must(length <= MAX_REQUEST, `a request of ${length} bytes`)
      const { id, from } = decode(await reader.exactly(length))
      const content = this.#shared.get(`${peer} ${bytesToHex(id.hash)}`)
      const answer = encode(content?.length === id.size ? { chunks: chunkDigests(content) } : { refused: 'unknown' })
      stream.send(concat(u32(answer.length), answer))
      for (let at = from * CHUNK; content !== undefined && at < content.length; at += CHUNK) {
        if (!stream.send(content.subarray(at, at + CHUNK))) await stream.onDrain()
      }
      await stream.close()
    } catch (error) {
      stream.abort(error)
    }
  }
}
