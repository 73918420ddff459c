// docs/protocol.md, "Market", "Award", "Trade messages", "Machines": the seller's side of a prepaid trade.
// It keeps its books in memory, as no seller may that isn't a test.
import { Broken, NotUnderstood, must, same, concat, cidOf, contentHash, randomBytes, sha256, now, text } from './bytes.js'
import { read, state, unseal, holds, SKEW } from './statement.js'
import { KIND } from './network.js'
import { readGossip } from './buyer.js'
import { checkLock, lockKey } from './lock.js'
import { sum } from './mint.js'
import { secp256k1 } from '@noble/curves/secp256k1.js'

/** "Error reasons", those that this seller gives. */
const REASON = {
  notOffered: 1,
  tooDear: 3,
  unit: 4,
  mint: 5,
  mode: 6,
  tooSoon: 7,
  tooLarge: 8,
  malformed: 12,
  departs: 13,
  notMyOffer: 14,
  awardedAlready: 15,
  chain: 16,
  lock: 18,
  paidTwice: 19,
  input: 22,
  notUnderstood: 26
}
const MAX_PROOFS = 64

class Refusal extends Error {
  constructor (reason, message) {
    super(message)
    this.reason = reason
  }
}

/** As `must`, for what an ask or an award can be turned down for. */
function want (holds, reason, message) {
  if (!holds) throw new Refusal(reason, message)
}

export class Seller {
  #awardedOffers = new Map()
  #paid = new Set()
  #trades = new Map()

  /** Sells a service whose work is `run`, a function from bytes to bytes. `told` hears what happens. */
  constructor ({ agent, network, contents, wallet, service, price, run, told }) {
    Object.assign(this, { agent, network, contents, wallet, service, price, run, told })
    const answer = (kind, handle) => network.on(kind, (body, from) => handle.call(this, body, from))
    answer(KIND.Query, this.#query)
    answer(KIND.Asked, this.#asked)
    answer(KIND.Awarded, this.#awarded)
    answer(KIND.Status, this.#status)
    answer(KIND.Cancel, this.#cancelled)
    answer(KIND.Received, this.#received)
  }

  /** Puts the service on the market: a provider record, and an advert by gossip. */
  async advertise () {
    const { mint } = this.wallet
    this.advert = state(this.agent, 'advert', {
      service: this.service,
      description: 'Sold by a peer that was written from docs/protocol.md',
      price: this.price,
      unit: mint.unit,
      mints: [mint.url],
      modes: ['prepaid'],
      input: null,
      output: null,
      max_input: 1_048_576,
      max_output: 1_048_576,
      time_limit: 30
    }, now() + 3_600)
    this.network.hear(this.service, data => holds(readGossip(data, this.service)), () => {})
    await this.network.provide(this.service)
    await this.network.publish(this.service, this.advert)
  }

  async #query ({ service, schema }, { peer }) {
    if (service !== this.service) return await this.network.send(peer, KIND.NotAdvertised, { service })
    // This service has no schemas, so none can be asked for.
    if (schema !== null && schema !== undefined) return await this.network.send(peer, KIND.Schema, { service, hash: schema, text: null })
    await this.network.send(peer, KIND.Advertised, { advert: this.advert })
  }

  async #asked ({ ask: bytes }, from) {
    const ask = cidOf(bytes)
    try {
      await this.network.send(from.peer, KIND.Offered, { offer: this.#offer(bytes, from) })
    } catch (error) {
      await this.network.send(from.peer, KIND.Declined, { ask, reason: reasonOf(error) })
    }
  }

  #offer (bytes, from) {
    const ask = read(bytes, 'ask')
    const { body } = ask
    const { mint } = this.wallet
    want(ask.iss === from.did && holds(ask), REASON.malformed, 'an ask of another')
    want(body.service === this.service, REASON.notOffered, body.service)
    want(body.max_price >= this.price, REASON.tooDear, `at most ${body.max_price}`)
    want(body.unit === mint.unit, REASON.unit, body.unit)
    want(body.mints.includes(mint.url), REASON.mint, body.mints)
    want(body.modes.includes('prepaid'), REASON.mode, body.modes)
    want(body.deadline > now(), REASON.tooSoon, `at ${body.deadline}`)
    want(body.input_size <= 1_048_576, REASON.tooLarge, body.input_size)
    return state(this.agent, 'offer', {
      aud: from.did,
      ask: ask.cid,
      service: this.service,
      price: this.price,
      unit: mint.unit,
      mints: [mint.url],
      terms: { prepaid: { payee: this.#payee(from.did).point, locktime: body.deadline + 600 } },
      max_proofs: MAX_PROOFS,
      deadline: body.deadline,
      input: null,
      output: null
    }, now() + 120)
  }

  /** The key that this buyer's money is to be locked to: stable per buyer, from the seller's own secret and the buyer's DID. */
  #payee (buyer) {
    for (let i = 0; ; i++) {
      const secret = sha256(concat(this.agent.seed, text(`payee ${buyer} ${i}`)))
      if (secp256k1.utils.isValidSecretKey(secret)) return lockKey(secret)
    }
  }

  async #awarded (message, from) {
    const cid = cidOf(message.award)
    const known = this.#trades.get(cid.toString())
    if (known !== undefined) return await this.#answer(known, from)
    try {
      const trade = { cid, from, ...this.#check(message, from) }
      trade.accepted = { award: cid, acceptance: this.#acceptance(trade) }
      this.#trades.set(cid.toString(), trade)
      this.#awardedOffers.set(trade.offer.cid.toString(), cid)
      trade.proofs.forEach(({ secret }) => this.#paid.add(secret))
      await this.network.send(from.peer, KIND.Accepted, trade.accepted)
      await this.#work(trade, message.input)
    } catch (error) {
      if (this.#trades.has(cid.toString())) throw error
      this.told({ refused: error.message })
      await this.network.send(from.peer, KIND.Refused, { award: cid, reason: reasonOf(error) })
    }
  }

  /** "A seller takes an award only if all of this holds; the first that doesn't gives the reason of its refusal". */
  #check (message, from) {
    // 1
    const { tag, payload, iss } = unseal(message.award)
    want(/^ucan\/inv@1\.0\.0(-rc\.1)?$/.test(tag) && payload.cmd === '/task/award', REASON.malformed, tag)
    want(iss === from.did && payload.aud === this.agent.did, REASON.malformed, 'an award of another, or to another')
    const { args } = payload
    want(args.crit === undefined && args.mode === 'prepaid' && message.lock.prepaid !== undefined, REASON.notUnderstood, args.mode)
    // 2
    const offer = asReason(REASON.notMyOffer, () => read(message.offer, 'offer'))
    want(offer.iss === this.agent.did && offer.body.aud === from.did, REASON.notMyOffer, 'an offer of another, or to another')
    // 3
    const ask = asReason(REASON.departs, () => read(message.ask, 'ask'))
    const { body } = offer
    want(ask.cid.equals(body.ask) && ask.cid.equals(args.ask) && offer.cid.equals(args.offer), REASON.departs, 'another ask or offer')
    want(args.service === body.service && args.price === body.price && args.unit === body.unit && body.mints.includes(args.mint), REASON.departs, 'another price')
    want(args.deadline === body.deadline && args.seller === this.agent.did && payload.exp === args.locktime, REASON.departs, 'another deadline or seller')
    // 4
    want(holds(offer) && holds(offer, payload.iat) && payload.iat <= now() + SKEW && body.deadline >= now(), REASON.departs, 'too late')
    // 5
    const input = message.input
    const hash = input.inline !== undefined ? contentHash(input.inline) : input.content.hash
    want(same(hash, args.input), REASON.input, 'another input')
    // 6: this seller works for nobody but the principal itself.
    want(payload.prf.length === 0 && args.depth === 0 && payload.sub === iss && args.spent === args.price, REASON.chain, 'a chain')
    // 8
    const { payee, locktime } = body.terms.prepaid
    const proofs = asReason(REASON.lock, () => checkLock(message.lock, {
      payee, offerLocktime: locktime, maxProofs: body.max_proofs, price: body.price, args, mint: this.wallet.mint
    }))
    // 9
    want(!this.#awardedOffers.has(offer.cid.toString()), REASON.awardedAlready, 'the offer was awarded before')
    want(!proofs.some(({ secret }) => this.#paid.has(secret)), REASON.paidTwice, 'a proof pays for another award')
    return { args, offer, proofs }
  }

  async #work (trade, payload) {
    const began = now()
    const input = await this.contents.bytesOf(payload, trade.from.peer)
    await this.network.send(trade.from.peer, KIND.Progress, { award: trade.cid, permille: 500, note: 'half of it', partial: '' })
    const output = this.run(input)
    const salt = randomBytes(32)
    const receipt = state(this.agent, 'receipt', {
      award: trade.cid,
      offer: trade.offer.cid,
      out: { ok: sha256(concat(salt, output)) },
      money: { prepaid: moneyOf(trade) },
      began,
      ended: now(),
      sub: []
    }, null)
    trade.receipt = cidOf(receipt)
    trade.delivered = { award: trade.cid, receipt, output: { salt, data: this.contents.payload(output, trade.from.peer) } }
    await this.network.send(trade.from.peer, KIND.Delivered, trade.delivered)
    // Money on offer is worth nothing until it is redeemed.
    const redeemed = await this.wallet.redeem(trade.proofs, this.#payee(trade.from.did).secret)
    this.told({ sold: { award: trade.cid.toString(), buyer: trade.from.did, redeemed } })
    if (trade.received === undefined) await this.network.send(trade.from.peer, KIND.Status, { award: trade.cid })
  }

  /** "What each side signs on the way": that it took the award, having checked the lock. */
  #acceptance (trade) {
    return state(this.agent, 'acceptance', { award: trade.cid, offer: trade.offer.cid, locked: moneyOf(trade) }, null)
  }

  /** The buyer has the output, and it is the one that the receipt commits to. */
  async #received ({ award, received: bytes }, from) {
    const trade = this.#trades.get(award.toString())
    if (trade === undefined || trade.received !== undefined) return
    const { iss, body } = read(bytes, 'received')
    must(iss === trade.from.did && trade.cid.equals(body.award) && trade.receipt?.equals(body.receipt), 'received of something else')
    trade.received = bytes
    this.told({ received: award.toString() })
  }

  async #cancelled ({ award, cancellation: bytes }, from) {
    const trade = this.#trades.get(award.toString())
    if (trade === undefined) return await this.network.send(from.peer, KIND.Unknown, { award })
    const { iss, body } = read(bytes, 'cancellation')
    must(iss === trade.from.did && trade.cid.equals(body.award), 'a cancellation of another award')
    // Work that this seller has begun it ends, so nothing is stopped.
    if (trade.from.did === from.did && trade.delivered !== undefined) await this.network.send(from.peer, KIND.Delivered, trade.delivered)
  }

  async #status ({ award }, from) {
    const trade = this.#trades.get(award.toString())
    if (trade === undefined) return await this.network.send(from.peer, KIND.Unknown, { award })
    await this.#answer(trade, from)
  }

  async #answer (trade, from) {
    // About a trade between others a seller says nothing.
    if (trade.from.did !== from.did) return
    await this.network.send(from.peer, KIND.Accepted, trade.accepted)
    if (trade.delivered !== undefined) await this.network.send(from.peer, KIND.Delivered, trade.delivered)
  }
}

/** What stands locked, as acceptance and receipt say it. */
function moneyOf ({ args, proofs }) {
  return { mint: args.mint, unit: args.unit, amount: sum(proofs), ys: args.ys }
}

function asReason (reason, check) {
  try {
    return check()
  } catch (error) {
    if (error instanceof NotUnderstood) throw error
    throw new Refusal(reason, error.message)
  }
}

function reasonOf (error) {
  if (error instanceof Refusal) return error.reason
  if (error instanceof NotUnderstood) return REASON.notUnderstood
  if (error instanceof Broken) return REASON.malformed
  throw error
}
