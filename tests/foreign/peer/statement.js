// docs/protocol.md, "Statements": the one envelope in which everything signed stands, and Guilder's own statements in it.
import { ed25519 } from '@noble/curves/ed25519.js'
import { base58btc } from 'multiformats/bases/base58'
import { NotUnderstood, must, same, concat, encode, decode, cidOf, randomBytes, now } from './bytes.js'

const HEADER = Uint8Array.of(0x34, 0x01, 0xed, 0x01, 0xed, 0x01, 0x13, 0x71)
const MULTICODEC_ED25519 = Uint8Array.of(0xed, 0x01)
const MAX_STATEMENT = 65_536
export const SKEW = 60

/** An agent's key, from 32 secret bytes, with its name as DID ("Network"). */
export function agent (seed) {
  const publicKey = ed25519.getPublicKey(seed)
  return { seed, publicKey, did: didOf(publicKey) }
}

export function didOf (publicKey) {
  return `did:key:${base58btc.encode(concat(MULTICODEC_ED25519, publicKey))}`
}

export function keyOf (did) {
  must(typeof did === 'string' && did.startsWith('did:key:z6Mk'), `${did} is no did:key of an Ed25519 key`)
  const bytes = base58btc.decode(did.slice('did:key:'.length))
  must(bytes.length === 34 && same(bytes.subarray(0, 2), MULTICODEC_ED25519), `${did} is no did:key of an Ed25519 key`)
  return bytes.subarray(2)
}

/** `[signature, {"h": header, tag: payload}]`, the signature over the bytes of the map. */
export function seal (agent, tag, payload) {
  const signed = { h: HEADER, [tag]: payload }
  return encode([ed25519.sign(encode(signed), agent.seed), signed])
}

/** Reads an envelope: its tag, its payload and its content ID. The signature is checked over the bytes as they came. */
export function unseal (bytes) {
  must(bytes instanceof Uint8Array && bytes.length <= MAX_STATEMENT, 'too large for a statement')
  const envelope = decode(bytes)
  must(Array.isArray(envelope) && envelope.length === 2, 'an envelope is a list of two')
  const [signature, signed] = envelope
  must(signature instanceof Uint8Array && signature.length === 64, 'a signature has 64 bytes')
  const keys = Object.keys(signed ?? {})
  must(keys.length === 2 && same(signed.h, HEADER), 'signed is the header and one payload')
  const tag = keys.find(key => key !== 'h')
  const payload = signed[tag]
  // Before the map stand the list's head (one byte), the signature's (two) and the signature.
  const message = bytes.subarray(1 + 2 + 64)
  must(ed25519.verify(signature, message, keyOf(payload?.iss), { zip215: false }), `a forged ${tag}`)
  return { tag, payload, cid: cidOf(bytes), bytes, iss: payload.iss }
}

/** Signs a statement of Guilder's own. */
export function state (agent, kind, body, exp) {
  return seal(agent, `guilder/${kind}@1.0.0`, { iss: agent.did, iat: now(), exp, nonce: randomBytes(16), body })
}

/** The kinds of statements that this peer reads. */
const KINDS = ['advert', 'withdrawal', 'ask', 'offer', 'acceptance', 'cancellation', 'receipt', 'received']
const TAG = /^guilder\/([a-z-]+)@1\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)$/

/** Reads a statement of one of these kinds, of any 1.x.y, unless there is something in it that must be understood and isn't. */
export function read (bytes, ...kinds) {
  const statement = unseal(bytes)
  const { tag, payload } = statement
  const kind = TAG.exec(tag)?.[1]
  if (!KINDS.includes(kind)) throw new NotUnderstood(tag)
  must(kinds.includes(kind), `${tag} is no ${kinds}`)
  if (payload.crit !== undefined) throw new NotUnderstood(`${payload.crit}`)
  must(payload.nonce instanceof Uint8Array && payload.nonce.length === 16, 'a nonce has 16 bytes')
  must(Number.isSafeInteger(payload.iat), 'iat is a time')
  must(payload.exp === null || payload.exp >= payload.iat, 'exp is before iat')
  return { ...statement, kind, iat: payload.iat, exp: payload.exp, body: payload.body }
}

/** Whether a statement holds now. */
export function holds ({ iat, exp }, at = now()) {
  return iat <= at + SKEW && (exp === null || at <= exp + SKEW)
}
