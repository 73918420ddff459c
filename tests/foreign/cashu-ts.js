// cashu-ts's wallet at a mint that a Guilder node hosts.
//
//   node cashu-ts.js '{"url": URL, "unit": UNIT, "token": TOKEN}'
//
// TOKEN is one that Guilder's wallet made. Each step that went well is a line of JSON, the last one with a token for Guilder's.
import './old-node.js'
import assert from 'node:assert/strict'
import {
  Wallet, createHTLCHash, createRandomSecretKey, getDecodedToken, getEncodedToken, getPubKeyFromPrivKey, hasValidDleq, sumProofs
} from '@cashu/cashu-ts'

const { url, unit, token } = JSON.parse(process.argv[2])
const done = (step, more = {}) => console.log(JSON.stringify({ done: step, ...more }))
const hex = bytes => Buffer.from(bytes).toString('hex')
const keyPair = () => {
  const secret = createRandomSecretKey()
  return { secret: hex(secret), public: hex(getPubKeyFromPrivKey(secret)) }
}
const total = proofs => sumProofs(proofs).toNumber()
const now = () => Math.floor(Date.now() / 1000)
/** What NUT-00's errors have in common; the number is the NUTs' code. */
const refused = code => error => {
  assert.equal(error.code, code, error.stack)
  return true
}

async function walletOf (seed) {
  const wallet = new Wallet(url, { unit, bip39seed: seed })
  await wallet.loadMint()
  return wallet
}

async function paid (quote) {
  for (let tries = 0; tries < 100; tries++) {
    if ((await payer.checkMintQuoteBolt11(quote.quote)).state === 'PAID') return
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  assert.fail(`${quote.request} isn't paid`)
}

/** Sends so much, locked, with the fee of redeeming it on top. */
async function lock (amount, options) {
  const { keep, send } = await payer.send(amount, coins, { includeFees: true }, { send: { type: 'p2pk', options } })
  coins = keep
  return getEncodedToken({ mint: url, unit, proofs: send })
}

const payer = await walletOf(createRandomSecretKey())
const payee = await walletOf(createRandomSecretKey())

// NUT-04 and 12.
const quote = await payer.createMintQuoteBolt11(500)
await paid(quote)
let coins = await payer.mintProofsBolt11(500, quote)
assert.equal(total(coins), 500)
assert.ok(coins.every(proof => hasValidDleq(proof, payer.getKeyset(), { require: true })))
await assert.rejects(payer.mintProofsBolt11(500, quote), refused(20002))
done('mint')

// NUT-03.
{
  const { keep, send } = await payer.send(100, coins, { includeFees: true })
  coins = keep
  const token = getEncodedToken({ mint: url, unit, proofs: send })
  assert.equal(total(await payee.receive(token)), 100)
  await assert.rejects(payee.receive(token), refused(11001))
  const states = await payer.checkProofsStates(send)
  assert.ok(states.every(({ state }) => state === 'SPENT'))
}
done('send and receive')

// NUT-11.
const [alice, bob] = [keyPair(), keyPair()]
{
  const token = await lock(30, { pubkey: alice.public })
  await assert.rejects(payee.receive(token))
  await assert.rejects(payee.receive(token, { privkey: bob.secret }))
  assert.equal(total(await payee.receive(token, { privkey: alice.secret })), 30)
  const later = await lock(20, { pubkey: alice.public, locktime: now() + 3_600, refundKeys: [bob.public] })
  await assert.rejects(payee.receive(later, { privkey: bob.secret }))
  assert.equal(total(await payee.receive(later, { privkey: alice.secret })), 20)
  const over = await lock(10, { pubkey: alice.public, locktime: now() - 60, refundKeys: [bob.public] })
  assert.equal(total(await payee.receive(over, { privkey: bob.secret })), 10)
  const both = await lock(15, { pubkey: [alice.public, bob.public], requiredSignatures: 2 })
  await assert.rejects(payee.receive(both, { privkey: alice.secret }))
  assert.equal(total(await payee.receive(both, { privkey: [alice.secret, bob.secret] })), 15)
}
done('P2PK')

// NUT-14.
{
  const { hash, preimage } = createHTLCHash()
  const options = { pubkey: alice.public, hashlock: hash, locktime: now() + 3_600, refundKeys: [bob.public] }
  const open = (token, preimage) => {
    const { proofs } = payee.decodeToken(token)
    return proofs.map(proof => ({ ...proof, witness: JSON.stringify({ preimage, signatures: [] }) }))
  }
  const token = await lock(40, options)
  await assert.rejects(payee.receive(token, { privkey: alice.secret }))
  await assert.rejects(payee.receive(open(token, '00'.repeat(32)), { privkey: alice.secret }))
  await assert.rejects(payee.receive(open(token, preimage)))
  assert.equal(total(await payee.receive(open(token, preimage), { privkey: alice.secret })), 40)
  // The payer learns the preimage from the mint (NUT-07).
  const [{ witness }] = await payer.checkProofsStates(payee.decodeToken(token).proofs)
  assert.equal(JSON.parse(witness).preimage, preimage)
  const over = await lock(25, { ...options, locktime: now() - 60 })
  assert.equal(total(await payee.receive(over, { privkey: bob.secret })), 25)
}
done('HTLC')

// NUT-05, and 08: what is paid is an invoice of the same mint, which then gives money for it.
{
  const quote = await payee.createMintQuoteBolt11(50)
  const melt = await payer.createMeltQuoteBolt11(quote.request)
  assert.equal(melt.amount.toNumber(), 50)
  const { keep, send } = await payer.send(50 + melt.fee_reserve.toNumber(), coins, { includeFees: true })
  const { quote: melted, change } = await payer.meltProofsBolt11(melt, send)
  coins = [...keep, ...change]
  assert.equal(melted.state, 'PAID')
  assert.equal(melted.payment_preimage.length, 64)
  await paid(quote)
  assert.equal(total(await payee.mintProofsBolt11(50, quote)), 50)
}
done('melt')

// NUT-09 and 13: the seed alone.
{
  const seed = createRandomSecretKey()
  const before = await walletOf(seed)
  const quote = await before.createMintQuoteBolt11(77)
  await paid(quote)
  const { keep, send } = await before.send(20, await before.mintProofsBolt11(77, quote), { includeFees: true })
  await payee.receive(getEncodedToken({ mint: url, unit, proofs: send }))
  const after = await walletOf(seed)
  const { proofs, lastCounterWithSignature } = await after.batchRestore(30, 30)
  await after.counters.advanceToAtLeast(after.keysetId, lastCounterWithSignature + 1)
  const states = await after.checkProofsStates(proofs)
  const unspent = proofs.filter((_, i) => states[i].state === 'UNSPENT')
  assert.equal(total(unspent), total(keep))
  // They can be spent.
  const fee = after.getFeesForProofs(unspent).toNumber()
  assert.equal(total(await after.receive(unspent)), total(keep) - fee)
}
done('restore')

// Guilder's wallet and this one, from hand to hand.
{
  assert.equal(getDecodedToken(token, [payee.getKeyset().id]).mint, url)
  const received = total(await payee.receive(token))
  const { send } = await payer.send(40, coins, { includeFees: false })
  done('tokens of Guilder', { received, token: getEncodedToken({ mint: url, unit, proofs: send }) })
}
