// docs/protocol.md, "Market", "Award", "Trade messages", "Machines": the buyer's side of a prepaid trade.
import { NotUnderstood, must, same, concat, decode, cidOf, contentHash, randomBytes, sha256, now } from './bytes.js'
import { read, state, seal, holds, SKEW } from './statement.js'
import { KIND } from './network.js'
import { lockKey, newSecret, toWire, ysOf } from './lock.js'
import { sum } from './mint.js'

/** The advert that a provider signed itself, asked for with `Query`; nothing if it has none. */
export async function advertOf (network, peer, did, service) {
  const answer = network.next(peer, [KIND.Advertised, KIND.NotAdvertised], body => body.service === undefined || body.service === service)
  await network.send(peer, KIND.Query, { service, schema: null })
  const { kind, advert } = await answer
  return kind === KIND.Advertised ? readAdvert(advert, service, did) : undefined
}

/** Checks an advert of this service, of `did` if it is given. */
function readAdvert (bytes, service, did) {
  const advert = readGossip(bytes, service)
  must(advert.kind === 'advert', `a ${advert.kind}, no advert`)
  must(did === undefined || advert.iss === did, 'an advert that another signed')
  return advert
}

/** What a service's topic may carry: adverts of it, and withdrawals. */
export function readGossip (bytes, service) {
  must(bytes.length <= 8_192, 'an advert has at most 8,192 bytes')
  const statement = read(bytes, 'advert', 'withdrawal')
  must(statement.body.service === service, `a statement about ${statement.body.service}`)
  return statement
}

export class Buyer {
  /** The messages by which this buyer said that it has an output, by award. */
  #received = new Map()

  constructor ({ agent, network, contents, wallet }) {
    Object.assign(this, { agent, network, contents, wallet })
    // Said again when the seller repeats its delivery, or asks.
    const again = async ({ award }, { peer }) => {
      const said = this.#received.get(award.toString())
      if (said?.peer === peer) await network.send(peer, KIND.Received, said.message)
    }
    network.on(KIND.Delivered, again)
    network.on(KIND.Status, again)
  }

  /**
   * Buys one task of a seller: ask, offer, award, delivery. `authority` is on whose authority other than its own: the
   * principal's DID, the envelopes of the delegations that lead from it here, and what was spent under the last of them.
   */
  async buy (seller, { service, input, maxPrice, secs, authority }) {
    const offer = await this.#ask(seller, { service, input, maxPrice, secs })
    const award = await this.#award(seller, service, offer, input, authority)
    const delivered = await this.#delivery(seller, award)
    return { ...delivered, award: award.cid.toString(), accepted: award.accepted, price: offer.body.price }
  }

  async #ask (seller, { service, input, maxPrice, secs }) {
    const { mint } = this.wallet
    const ask = state(this.agent, 'ask', {
      service,
      max_price: maxPrice,
      unit: mint.unit,
      mints: [mint.url],
      modes: ['prepaid'],
      input_size: input.length,
      deadline: now() + secs
    }, now() + 120)
    const cid = cidOf(ask)
    const answer = this.network.next(seller.peer, [KIND.Offered, KIND.Declined], body => body.offer !== undefined || cid.equals(body.ask))
    await this.network.send(seller.peer, KIND.Asked, { ask })
    const { kind, offer: bytes, reason } = await answer
    must(kind === KIND.Offered, `declined for reason ${reason}`)
    const offer = read(bytes, 'offer')
    const { body } = offer
    must(holds(offer) && offer.iss === seller.did && body.aud === this.agent.did && cid.equals(body.ask), 'an offer for something else')
    must(body.service === service && body.price <= maxPrice && body.unit === mint.unit, 'an offer outside of the ask')
    must(body.mints.includes(mint.url) && body.deadline <= decode(ask)[1]['guilder/ask@1.0.0'].body.deadline, 'an offer outside of the ask')
    must(body.terms.prepaid !== undefined, 'an offer on other terms')
    must(body.terms.prepaid.locktime <= now() + 172_800, 'an offer that locks money for more than two days')
    return { ...offer, ask, askCid: cid }
  }

  async #award (seller, service, offer, input, authority = { principal: this.agent.did, proofs: [], spent: 0 }) {
    const { body } = offer
    const { payee, locktime } = body.terms.prepaid
    const refund = lockKey()
    const iat = now()
    const lock = { payee, locktime, refund: refund.point }
    const proofs = await this.wallet.lock(body.price, () => newSecret(lock))
    must(proofs.length <= body.max_proofs, 'more proofs than the seller takes')
    const bytes = seal(this.agent, 'ucan/inv@1.0.0', {
      iss: this.agent.did,
      sub: authority.principal,
      aud: seller.did,
      cmd: '/task/award',
      args: {
        task: offer.askCid,
        service,
        ask: offer.askCid,
        offer: offer.cid,
        input: contentHash(input),
        mode: 'prepaid',
        mint: this.wallet.mint.url,
        price: body.price,
        unit: body.unit,
        spent: authority.spent + body.price,
        locktime,
        ys: ysOf(proofs),
        seller: seller.did,
        deadline: body.deadline,
        depth: authority.proofs.length
      },
      prf: authority.proofs.map(cidOf),
      nonce: randomBytes(16),
      exp: locktime,
      iat
    })
    const award = { bytes, cid: cidOf(bytes), iat, offer, ys: ysOf(proofs), amount: sum(proofs) }
    award.delivered = this.network.next(seller.peer, [KIND.Delivered, KIND.Refused], ({ award: cid }) => award.cid.equals(cid), 60_000)
    const accepted = this.network.next(seller.peer, [KIND.Accepted, KIND.Refused, KIND.Delivered], ({ award: cid }) => award.cid.equals(cid))
    await this.network.send(seller.peer, KIND.Awarded, {
      award: bytes,
      offer: offer.bytes,
      ask: offer.ask,
      proofs: authority.proofs,
      lock: toWire(proofs, refund.point),
      input: this.contents.payload(input, seller.peer)
    })
    const { kind, reason, acceptance } = await accepted
    must(kind !== KIND.Refused, `refused for reason ${reason}`)
    award.accepted = kind === KIND.Accepted && this.#isAccepted(acceptance, seller, award)
    return award
  }

  /** "What each side signs on the way": whether the seller has taken this award; one that isn't understood counts as not said. */
  #isAccepted (bytes, seller, award) {
    let acceptance
    try {
      acceptance = read(bytes, 'acceptance')
    } catch (error) {
      if (error instanceof NotUnderstood) return false
      throw error
    }
    const { iss, iat, body } = acceptance
    must(iss === seller.did && award.cid.equals(body.award) && award.offer.cid.equals(body.offer), 'an acceptance of another award')
    must(this.#isMoneyOf(award, body.locked), 'an acceptance about other money')
    must(iat >= award.iat - SKEW && iat <= award.offer.body.deadline, `an acceptance dated ${iat}`)
    return true
  }

  #isMoneyOf (award, { mint, unit, amount, ys }) {
    const ours = this.wallet.mint
    return mint === ours.url && unit === ours.unit && amount === award.amount && same(ys, award.ys)
  }

  async #delivery (seller, award) {
    const { kind, receipt: bytes, output, reason } = await award.delivered
    must(kind === KIND.Delivered, `refused for reason ${reason}`)
    const receipt = read(bytes, 'receipt')
    const { body } = receipt
    must(receipt.iss === seller.did && award.cid.equals(body.award) && award.offer.cid.equals(body.offer), 'a receipt of something else')
    must(this.#isMoneyOf(award, body.money.prepaid), 'a receipt about other money')
    if (body.out.ok === undefined) return { failed: body.out.error }
    const { salt, data } = output
    must(salt.length === 32, 'a salt has 32 bytes')
    const delivered = await this.contents.bytesOf(data, seller.peer)
    must(same(sha256(concat(salt, delivered)), body.out.ok), 'an output that is not the one of the receipt')
    const received = state(this.agent, 'received', { award: award.cid, receipt: receipt.cid }, null)
    const message = { award: award.cid, received }
    this.#received.set(award.cid.toString(), { peer: seller.peer, message })
    await this.network.send(seller.peer, KIND.Received, message)
    return { output: delivered }
  }
}
