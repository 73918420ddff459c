// iso-ucan's tokens for Guilder, and Guilder's for iso-ucan.
//
//   node iso-ucan.js write                                   cases as `guilder ucan verify` reads them, one a line
//   node iso-ucan.js read '{"delegations": [HEX], "invocations": [HEX]}'        what it says of each invocation
import './old-node.js'
import { Delegation } from 'iso-ucan/delegation'
import { Invocation } from 'iso-ucan/invocation'
import { EdDSASigner } from 'iso-signatures/signers/eddsa.js'
import { Resolver } from 'iso-signatures/verifiers/resolver.js'
import { verifier } from 'iso-signatures/verifiers/eddsa.js'

const verifierResolver = new Resolver({ ...verifier })
const say = line => console.log(JSON.stringify(line))
const base64 = bytes => Buffer.from(bytes).toString('base64').replace(/=+$/, '')
const token = bytes => ({ '/': { bytes: base64(bytes) } })

/** A principal lets an agent run tasks up to a price, which lets a helper run cheaper ones; the helper runs one. */
async function write () {
  const [principal, agent, helper, stranger] = await Promise.all(Array.from({ length: 4 }, () => EdDSASigner.generate()))
  const now = Math.floor(Date.now() / 1000)
  const exp = now + 600
  const sub = principal.did
  const delegate = (iss, aud, more) => Delegation.create({ iss, aud: aud.did, sub, cmd: '/task/run', pol: [], exp, ...more })
  const invoke = (iss, prf, more) => Invocation.create({
    iss, sub, aud: stranger.did, cmd: '/task/run', args: { unit: 'sat', price: 5 }, prf, exp, verifierResolver, ...more
  })
  const unit = ['==', '.unit', 'sat']
  const first = await delegate(principal, agent, { pol: [['<=', '.price', 10], unit], meta: { note: 'x' } })
  const second = await delegate(agent, helper, { pol: [['<=', '.price', 7], unit], nbf: now - 1 })
  const powerline = await delegate(agent, helper, { sub: null })
  const sayCase = (name, invocation, proofs, change = bytes => bytes, time = now) => say({
    name, case: { invocation: token(change(invocation.bytes)), proofs: proofs.map(({ bytes }) => token(bytes)), time }
  })

  const good = await invoke(helper, [first, second])
  sayCase('a chain of two', good, [first, second])
  sayCase('a powerline', await invoke(helper, [first, powerline]), [first, powerline])
  sayCase('a subject itself', await invoke(principal, []), [])
  sayCase('a subcommand', await invoke(helper, [first, second], { cmd: '/task/run/fast' }), [first, second])
  sayCase('expired', good, [first, second], undefined, exp + 1)
  sayCase('a proof left out', good, [first])
  const flipped = bytes => {
    const changed = Uint8Array.from(bytes)
    changed[changed.length - 1] ^= 1
    return changed
  }
  sayCase('a bit changed', good, [first, second], flipped)
  // iso-ucan compares commands by their first letters, so it signs what its own delegation doesn't cover.
  sayCase('another command', await invoke(helper, [first, second], { cmd: '/task/runaway' }), [first, second])
}

async function read ({ delegations, invocations }) {
  const known = new Map()
  for (const text of delegations) {
    const delegation = await Delegation.from({ bytes: Uint8Array.from(Buffer.from(text, 'hex')), verifierResolver })
    known.set(delegation.cid.toString(), delegation)
    say({ delegation: delegation.cid.toString(), cmd: delegation.cmd })
  }
  for (const text of invocations) {
    const bytes = Uint8Array.from(Buffer.from(text, 'hex'))
    try {
      const invocation = await Invocation.from({ bytes, verifierResolver, resolveProof: async cid => known.get(cid.toString()) })
      say({ invocation: invocation.cid.toString(), links: invocation.delegations.length, holds: true })
    } catch (error) {
      say({ holds: false, why: error.message })
    }
  }
}

const [name, options] = process.argv.slice(2)
await { write, read }[name](options && JSON.parse(options))
