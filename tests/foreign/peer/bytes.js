// docs/protocol.md, "Bytes" and "Content": what is written and hashed.
import * as cbor from '@ipld/dag-cbor'
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, hexToBytes, randomBytes } from '@noble/hashes/utils.js'
import { CID } from 'multiformats/cid'
import * as digest from 'multiformats/hashes/digest'

export { CID, bytesToHex, hexToBytes, randomBytes, sha256 }
export const encode = cbor.encode

/** A fault of the other side: what it sent breaks a rule of the document. */
export class Broken extends Error {}

/** What a later version may have written: it breaks no rule, and nothing can be made of it ("What later versions add"). */
export class NotUnderstood extends Error {}

/** Throws unless `holds`. */
export function must (holds, rule) {
  if (!holds) throw new Broken(rule)
}

export function same (a, b) {
  return a instanceof Uint8Array && b instanceof Uint8Array && a.length === b.length && a.every((byte, i) => byte === b[i])
}

export function concat (...parts) {
  return new Uint8Array(Buffer.concat(parts))
}

export const text = string => new TextEncoder().encode(string)
export const now = () => Math.floor(Date.now() / 1000)

/**
 * Canonical DAG-CBOR. The library refuses indefinite lengths, doubled keys and other tags, but neither another order of keys
 * nor all longer forms, so what it read is written again and compared. (A float without a fraction would come out as an
 * integer here; none stands where this peer looks.)
 */
export function decode (bytes) {
  let value
  try {
    value = cbor.decode(bytes)
  } catch (error) {
    throw new Broken(`not DAG-CBOR: ${error.message}`)
  }
  must(same(cbor.encode(value), bytes), 'not canonical DAG-CBOR')
  return value
}

/** A CID is v1, codec dag-cbor, hash sha2-256. */
export function cidOf (bytes) {
  return CID.createV1(cbor.code, digest.create(0x12, sha256(bytes)))
}

export const CHUNK = 262_144
const CONTENT = text('guilder/content/1')

/** The digests of a content's chunks, back to back. */
export function chunkDigests (content) {
  const digests = []
  for (let at = 0; at < content.length; at += CHUNK) digests.push(sha256(content.subarray(at, at + CHUNK)))
  return concat(...digests)
}

/** The hash of a content of `size` bytes, from its chunks' digests. */
export function contentHashOf (size, digests) {
  const length = new Uint8Array(8)
  new DataView(length.buffer).setBigUint64(0, BigInt(size))
  return sha256(concat(CONTENT, length, digests))
}

export function contentHash (content) {
  return contentHashOf(content.length, chunkDigests(content))
}
