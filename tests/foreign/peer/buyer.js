// docs/protocol.md, "Market", "Award", "Trade messages", "Machines": the buyer's side of a prepaid trade.
import { must, same, concat, decode, cidOf, contentHash, randomBytes, sha256, now } from './bytes.js'
import { SKEW, read, state, seal, holds } from './statement.js'
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
  constructor ({ agent, network, contents, wallet }) {
    Object.assign(this, { agent, network, contents, wallet })
  }

  /**
   * Buys one task of a seller: ask, offer, award, delivery. `authority` is on whose authority other than its own: the
   * principal's DID, the envelopes of the delegations that lead from it here, and what was spent under the last of them.
   */
  async buy (seller, { service, input, maxPrice, secs, authority }) {
    const offer = await this.#ask(seller, { service, input, maxPrice, secs })
    const award = await this.#award(seller, service, offer, input, authority)
    const delivered = await this.#delivery(seller, award)
    return { ...delivered, award: award.cid.toString(), price: offer.body.price }
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
    const lock = { payee, locktime, refund: refund.point }
    const proofs = await this.wallet.lock(body.price, () => newSecret(lock))
    must(proofs.length <= body.max_proofs, 'more proofs than the seller takes')
    const made = now()
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
      iat: made
    })
    const award = { bytes, made, cid: cidOf(bytes), offer, ys: ysOf(proofs), amount: sum(proofs) }
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
    if (kind === KIND.Accepted) this.#checkAcceptance(read(acceptance, 'acceptance'), seller, award)
    return award
  }

  /** That the seller took this award and found this money locked to it. */
  #checkAcceptance ({ iss, body, iat }, seller, award) {
    must(iss === seller.did && award.cid.equals(body.award) && award.offer.cid.equals(body.offer), 'an acceptance of something else')
    const { mint, unit, amount, ys } = body.locked
    must(mint === this.wallet.mint.url && unit === this.wallet.mint.unit && amount === award.amount && same(ys, award.ys), 'an acceptance of other money')
    must(iat >= award.made - SKEW && iat <= award.offer.body.deadline, 'an acceptance of another time')
  }

  async #delivery (seller, award) {
    const { kind, receipt: bytes, output, reason } = await award.delivered
    must(kind === KIND.Delivered, `refused for reason ${reason}`)
    const receipt = read(bytes, 'receipt')
    const { body } = receipt
    must(receipt.iss === seller.did && award.cid.equals(body.award) && award.offer.cid.equals(body.offer), 'a receipt of something else')
    const { mint, unit, amount, ys } = body.money.prepaid
    must(mint === this.wallet.mint.url && unit === this.wallet.mint.unit && amount === award.amount && same(ys, award.ys), 'a receipt about other money')
    if (body.out.ok === undefined) return { failed: body.out.error }
    const { salt, data } = output
    must(salt.length === 32, 'a salt has 32 bytes')
    const delivered = await this.contents.bytesOf(data, seller.peer)
    must(same(sha256(concat(salt, delivered)), body.out.ok), 'an output that is not the one of the receipt')
    const received = state(this.agent, 'received', { award: award.cid, receipt: receipt.cid }, null)
    await this.network.send(seller.peer, KIND.Received, { award: award.cid, received })
    return { output: delivered }
  }
}
