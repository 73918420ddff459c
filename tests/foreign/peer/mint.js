// docs/protocol.md, "Mints over libp2p": a mint that a peer hosts, and a wallet at it, in memory.
// The blind signatures and DLEQ proofs (NUT-00, 02, 12) are cashu-ts's.
import { blindMessage, deriveKeysetId, hasValidDleq, pointFromHex, schnorrSignMessage, unblindSignature } from '@cashu/cashu-ts'
import { must, concat, text, bytesToHex, randomBytes } from './bytes.js'
import { Reader, u32 } from './network.js'

const PROTOCOL = '/guilder/mint/1'
const METHOD = { GET: 1, POST: 2 }
const MAX_MINT_FRAME = 1_048_576

export class MintError extends Error {
  constructor (status, answer) {
    super(`the mint says ${status}: ${JSON.stringify(answer)}`)
    this.code = answer?.code
  }
}

export class Mint {
  #network
  #peer
  #stream
  #last = Promise.resolve()
  keysets = new Map()

  /** The mint at a URL `p2p://mint/<peer id>`, with its keysets, whose IDs are computed again. */
  static async at (network, url, unit) {
    const mint = new Mint()
    must(url.startsWith('p2p://mint/'), `${url} is no mint over libp2p`)
    mint.#network = network
    mint.#peer = url.slice('p2p://mint/'.length)
    mint.url = url
    mint.unit = unit
    const { keysets } = await mint.request('GET', '/v1/keysets')
    for (const keyset of keysets.filter(keyset => keyset.unit === unit)) {
      const { keys } = (await mint.request('GET', `/v1/keys/${keyset.id}`)).keysets[0]
      const versionByte = Number.parseInt(keyset.id.slice(0, 2), 16)
      const { input_fee_ppk = 0, final_expiry } = keyset
      const id = deriveKeysetId(keys, { versionByte, unit, input_fee_ppk, expiry: final_expiry ?? undefined })
      must(id === keyset.id, `the keys of ${keyset.id} give ${id}`)
      mint.keysets.set(id, { id, keys, active: keyset.active, feePpk: input_fee_ppk, expiry: final_expiry ?? null })
    }
    mint.active = [...mint.keysets.values()].find(keyset => keyset.active)
    return mint
  }

  /** One request after the other on one stream. */
  async request (method, path, body) {
    const answer = this.#last.then(() => this.#exchange(method, path, body))
    this.#last = answer.catch(() => {})
    return await answer
  }

  async #exchange (method, path, body) {
    if (this.#stream?.stream.status !== 'open') {
      const stream = await this.#network.open(this.#peer, PROTOCOL)
      this.#stream = { stream, reader: new Reader(stream) }
    }
    const { stream, reader } = this.#stream
    const name = text(path)
    const request = concat(Uint8Array.of(METHOD[method], name.length), name, text(body === undefined ? '' : JSON.stringify(body)))
    stream.send(concat(u32(request.length), request))
    const length = await reader.u32()
    must(length >= 2 && length <= MAX_MINT_FRAME, `a reply of ${length} bytes`)
    const reply = await reader.exactly(length)
    const status = reply[0] * 256 + reply[1]
    const answer = JSON.parse(new TextDecoder().decode(reply.subarray(2)))
    if (status !== 200) throw new MintError(status, answer)
    return answer
  }

  /** NUT-04: new money, for an invoice that somebody pays (play money pays itself). */
  async fund (amount) {
    const { quote } = await this.request('POST', '/v1/mint/quote/bolt11', { amount, unit: this.unit })
    for (let tries = 0; (await this.request('GET', `/v1/mint/quote/bolt11/${quote}`)).state !== 'PAID'; tries++) {
      must(tries < 100, 'the invoice is not paid')
      await new Promise(resolve => setTimeout(resolve, 100))
    }
    const outputs = split(amount).map(amount => this.#output(amount, plainSecret()))
    const { signatures } = await this.request('POST', '/v1/mint/bolt11', { quote, outputs: outputs.map(output => output.message) })
    return this.#proofs(outputs, signatures)
  }

  /** NUT-03: swaps proofs for new ones of these amounts and secrets. */
  async swap (inputs, wanted) {
    const outputs = wanted.map(({ amount, secret }) => this.#output(amount, secret)).sort((a, b) => a.amount - b.amount)
    const { signatures } = await this.request('POST', '/v1/swap', {
      inputs: inputs.map(({ amount, id, secret, C, witness }) => ({ amount, id, secret, C, witness })),
      outputs: outputs.map(output => output.message)
    })
    return this.#proofs(outputs, signatures)
  }

  /** What spending these proofs costs. */
  fee (proofs) {
    return Math.ceil(proofs.reduce((sum, { id }) => sum + this.keysets.get(id).feePpk, 0) / 1000)
  }

  /** NUT-12: whether the mint signed this proof with the key of its amount. */
  signed (proof) {
    const keyset = this.keysets.get(proof.id)
    return keyset?.keys[proof.amount] !== undefined && hasValidDleq(proof, keyset, { require: true })
  }

  #output (amount, secret) {
    const blinded = blindMessage(text(secret))
    return { amount, secret, r: blinded.r, message: { amount, id: this.active.id, B_: blinded.B_.toHex(true) } }
  }

  #proofs (outputs, signatures) {
    must(signatures.length === outputs.length, 'the mint signed another number of outputs')
    return outputs.map(({ amount, secret, r }, i) => {
      const { C_, dleq } = signatures[i]
      const C = unblindSignature(pointFromHex(C_), r, pointFromHex(this.active.keys[amount])).toHex(true)
      const proof = { amount, id: this.active.id, secret, C, dleq: { ...dleq, r: r.toString(16).padStart(64, '0') } }
      must(this.signed(proof), 'the mint signed with another key')
      return proof
    })
  }
}

/** A wallet at one mint. */
export class Wallet {
  #coins = []

  constructor (mint) {
    this.mint = mint
  }

  get balance () {
    return sum(this.#coins)
  }

  async fund (amount) {
    this.#coins.push(...await this.mint.fund(amount))
  }

  /** Swaps coins into proofs with the secrets that `secretOf` makes, worth `net` after the fee of spending them. */
  async lock (net, secretOf) {
    let amounts = split(net)
    const fee = () => Math.ceil(amounts.length * this.mint.active.feePpk / 1000)
    for (let gross = net; sumOf(amounts) < net + fee(); amounts = split(gross)) gross++
    const inputs = this.#take(sumOf(amounts))
    const change = sum(inputs) - this.mint.fee(inputs) - sumOf(amounts)
    must(change >= 0, 'not enough money')
    const locks = amounts.map(amount => ({ amount, secret: secretOf() }))
    const secrets = new Set(locks.map(({ secret }) => secret))
    const proofs = await this.mint.swap(inputs, [...locks, ...coins(change)])
    this.#coins.push(...proofs.filter(({ secret }) => !secrets.has(secret)))
    return proofs.filter(({ secret }) => secrets.has(secret))
  }

  /** NUT-11: swaps proofs that are locked to this key's public key into coins; what came of them after the fee. */
  async redeem (proofs, secretKey) {
    const amount = sum(proofs) - this.mint.fee(proofs)
    const signed = proofs.map(proof => ({
      ...proof,
      witness: JSON.stringify({ signatures: [schnorrSignMessage(proof.secret, secretKey)] })
    }))
    this.#coins.push(...await this.mint.swap(signed, coins(amount)))
    return amount
  }

  #take (amount) {
    const taken = []
    while (sum(taken) - this.mint.fee(taken) < amount) {
      must(this.#coins.length > 0, 'not enough money')
      taken.push(this.#coins.pop())
    }
    return taken
  }
}

const plainSecret = () => bytesToHex(randomBytes(32))
const coins = amount => split(amount).map(amount => ({ amount, secret: plainSecret() }))
const sumOf = amounts => amounts.reduce((sum, amount) => sum + amount, 0)
export const sum = proofs => sumOf(proofs.map(({ amount }) => amount))

/** Powers of two, ascending. */
function split (amount) {
  const parts = []
  for (let part = 1; part <= amount; part *= 2) if (Math.floor(amount / part) % 2 === 1) parts.push(part)
  return parts
}
