// docs/protocol.md, "Locks": ecash that the seller's key can spend at once and the buyer's from the locktime on.
import { hashToCurve } from '@cashu/cashu-ts'
import { secp256k1 } from '@noble/curves/secp256k1.js'
import { must, same, concat, text, sha256, bytesToHex, hexToBytes, randomBytes } from './bytes.js'
import { sum } from './mint.js'

const MAX_LOCK_SECS = 172_800
const MAX_SECRET = 512

/** A lock key's pair: the secret 32 bytes, and the point, compressed. */
export function lockKey (secret = secp256k1.utils.randomSecretKey()) {
  return { secret, point: secp256k1.getPublicKey(secret, true) }
}

/** The one text that a secret of this lock may be. */
export function secretText ({ payee, locktime, refund }, nonce) {
  return `["P2PK",{"nonce":"${bytesToHex(nonce)}","data":"${bytesToHex(payee)}","tags":` +
    `[["locktime","${locktime}"],["refund","${bytesToHex(refund)}"],["sigflag","SIG_INPUTS"]]}]`
}

export const newSecret = lock => secretText(lock, randomBytes(32))

/** SHA-256 over the proofs' Ys, compressed, sorted, back to back. */
export function ysOf (proofs) {
  const ys = proofs.map(({ secret }) => hashToCurve(text(secret)).toHex(true)).sort()
  must(new Set(ys).size === ys.length, 'a proof stands twice')
  return sha256(concat(...ys.map(hexToBytes)))
}

/** Proofs in the form in which they travel. */
export function toWire (proofs, refund) {
  return {
    prepaid: {
      proofs: proofs.map(({ amount, C, dleq, id, secret }) => ({
        amount,
        c: hexToBytes(C),
        dleq: { e: hexToBytes(dleq.e), r: hexToBytes(dleq.r), s: hexToBytes(dleq.s) },
        id: hexToBytes(id),
        secret
      })),
      refund
    }
  }
}

/** What a seller checks of a lock, offline; the proofs, ready to be redeemed, if it holds. */
export function checkLock (lock, { payee, offerLocktime, maxProofs, price, args, mint }) {
  const { proofs, refund } = lock.prepaid
  must(proofs.length >= 1 && proofs.length <= maxProofs, `${proofs.length} proofs`)
  must(bytesToHex(payee.subarray(1)) !== bytesToHex(refund.subarray(1)), 'payee and refund are one key')
  for (const point of [payee, refund]) secp256k1.Point.fromBytes(point)
  const { locktime } = args
  must(locktime >= offerLocktime && locktime <= offerLocktime + MAX_LOCK_SECS, `a locktime of ${locktime}`)
  const plain = proofs.map(({ amount, c, dleq, id, secret }) => {
    must(secret.length <= MAX_SECRET, 'a secret has at most 512 bytes')
    // The nonce is taken from its place, and everything else is what it has to be: locks are compared, never interpreted.
    const place = '["P2PK",{"nonce":"'.length
    const nonce = secret.slice(place, place + 64)
    must(/^[0-9a-f]{64}$/.test(nonce) && secret === secretText({ payee, locktime, refund }, hexToBytes(nonce)), 'another lock')
    const hex = { e: bytesToHex(dleq.e), r: bytesToHex(dleq.r), s: bytesToHex(dleq.s) }
    return { amount, C: bytesToHex(c), dleq: hex, id: bytesToHex(id), secret }
  })
  for (const proof of plain) {
    const keyset = mint.keysets.get(proof.id)
    must(keyset !== undefined && (keyset.expiry === null || keyset.expiry >= locktime), `a keyset ${proof.id}`)
    must(mint.signed(proof), 'a proof that the mint did not sign')
  }
  must(sum(plain) >= price + mint.fee(plain), `${sum(plain)} for ${price}`)
  must(same(ysOf(plain), args.ys), 'other Ys than the award names')
  return plain
}
