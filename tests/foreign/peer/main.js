// A peer of the Guilder network on js-libp2p, written from docs/protocol.md alone: the second implementation, which keeps that
// document honest. What it doesn't say can't be done here; whoever changes what is said there changes it here too.
//
//   node peer/main.js find-and-buy '{"bootstrap": [ADDRESS], "service": NAME, "mint": URL, "unit": UNIT, "funds": AMOUNT, "inputs": [TEXT]}'
//   node peer/main.js hear '{"bootstrap": [ADDRESS], "near": NAME, "service": NAME}'
//   node peer/main.js sell '{"bootstrap": [ADDRESS], "service": NAME, "mint": URL, "unit": UNIT, "price": PRICE}'
//
// It says what happens as JSON, an object a line, and runs until what it was to do is done or its standard input ends.
import '../old-node.js'
import { Network } from './network.js'
import { Contents } from './content.js'
import { Mint, Wallet } from './mint.js'
import { agent, didOf, holds } from './statement.js'
import { Buyer, advertOf, readGossip } from './buyer.js'
import { Seller } from './seller.js'
import { now, randomBytes, same, text } from './bytes.js'
import { peerIdFromString } from '@libp2p/peer-id'
import { Delegation } from 'iso-ucan/delegation'
import { EdDSASigner } from 'iso-signatures/signers/eddsa.js'

const say = line => process.stdout.write(`${JSON.stringify(line)}\n`)
const didOfPeer = peer => didOf(peerIdFromString(peer).publicKey.raw)

async function join ({ bootstrap }) {
  const me = agent(randomBytes(32))
  const network = await Network.join(me, bootstrap)
  say({ joined: { peer: network.peerId, did: me.did, address: network.node.getMultiaddrs()[0].toString() } })
  return { agent: me, network }
}

/** Joins, with a wallet at a mint and `funds` in it. */
async function joinWithMoney (task) {
  const { agent, network } = await join(task)
  const wallet = new Wallet(await Mint.at(network, task.mint, task.unit))
  if (task.funds !== undefined) await wallet.fund(task.funds)
  return { agent, network, wallet, contents: await Contents.on(network) }
}

/** Walks the DHT until somebody provides the service and has an advert for it. */
async function find (network, service) {
  for (let tries = 0; tries < 60; tries++) {
    for (const peer of await network.findProviders(service).catch(() => [])) {
      const did = didOfPeer(peer)
      const advert = await advertOf(network, peer, did, service).catch(error => say({ trouble: error.message }))
      if (advert !== undefined && holds(advert)) return { peer, did, advert }
    }
    await new Promise(resolve => setTimeout(resolve, 500))
  }
  throw new Error(`nobody provides ${service}`)
}

/** "Awards and money": a principal's delegation, made by iso-ucan, to spend `limit` in all. */
async function delegated (me, { mint, unit, limit }) {
  const principal = await EdDSASigner.generate()
  const delegation = await Delegation.create({
    iss: principal,
    aud: me.did,
    sub: principal.did,
    cmd: '/task/award',
    pol: [['==', '.unit', unit], ['==', '.mint', mint], ['<=', '.price', limit], ['<=', '.spent', limit]],
    exp: now() + 600
  })
  return { principal: principal.did, proofs: [delegation.bytes], spent: 0 }
}

const TASKS = {
  async 'find-and-buy' (task) {
    const { network, ...rest } = await joinWithMoney(task)
    const seller = await find(network, task.service)
    const { price, unit } = seller.advert.body
    say({ found: { peer: seller.peer, price, unit } })
    const buyer = new Buyer({ network, ...rest })
    let authority = task.limit === undefined ? undefined : await delegated(rest.agent, task)
    for (const wanted of task.inputs) {
      // A text, or so many bytes.
      const input = typeof wanted === 'number' ? new Uint8Array(wanted).map((_, i) => i % 251) : text(wanted)
      const { output, ...bought } = await buyer.buy(seller, { service: task.service, input, maxPrice: price, secs: 30, authority })
      if (authority !== undefined) authority = { ...authority, spent: authority.spent + bought.price }
      say({ bought: { ...bought, size: output?.length, same: same(output, input) } })
    }
    say({ balance: rest.wallet.balance })
    await network.leave()
  },

  /** Finds a seller of `near`, so that it is connected to it, then waits for an advert of `service` on its topic. */
  async hear (task) {
    const { network } = await join(task)
    const heard = Promise.withResolvers()
    network.hear(task.service, data => holds(readGossip(data, task.service)), (data, from) => {
      const { kind, iss, body } = readGossip(data, task.service)
      if (kind === 'advert') heard.resolve({ did: iss, price: body.price, from })
    })
    const { peer } = await find(network, task.near)
    await network.gossipsWith(peer)
    say({ listening: task.service })
    say({ heard: await heard.promise })
    await network.leave()
  },

  /** Sells upper-casing until its standard input ends. */
  async sell (task) {
    const { network, ...rest } = await joinWithMoney(task)
    const run = input => text(new TextDecoder().decode(input).toUpperCase())
    const seller = new Seller({ network, ...rest, service: task.service, price: task.price, run, told: say })
    await seller.advertise()
    say({ selling: task.service })
    await ended
    say({ balance: rest.wallet.balance })
    await network.leave()
  }
}

const [name, options] = process.argv.slice(2)
const ended = new Promise(resolve => process.stdin.resume().on('end', resolve).on('error', resolve))
ended.then(() => setTimeout(() => process.exit(1), 10_000).unref())
try {
  await TASKS[name](JSON.parse(options))
  process.exit(0)
} catch (error) {
  say({ failed: error.message })
  console.error(error)
  process.exit(1)
}
