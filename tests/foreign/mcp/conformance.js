// Adds the token that the conformance suite can't be given, and runs its scenarios that need no fixtures.
// node conformance.js NODE SUITE URL TOKEN SCENARIO…
import { createServer, request } from 'node:http'
import { spawn } from 'node:child_process'

const [node, suite, url, token, ...scenarios] = process.argv.slice(2)
const target = new URL(url)

const proxy = createServer((from, to) => {
  // As if the suite had asked there itself.
  const host = from.headers.host === `127.0.0.1:${proxy.address().port}` ? target.host : from.headers.host
  const headers = { ...from.headers, host, authorization: `Bearer ${token}` }
  const asked = request(target, { method: from.method, headers }, answer => {
    to.writeHead(answer.statusCode, answer.headers)
    answer.pipe(to)
  })
  asked.on('error', () => to.destroy())
  from.pipe(asked)
})
await new Promise(resolve => proxy.listen(0, '127.0.0.1', resolve))
for (const scenario of scenarios) {
  const args = [suite, 'server', '--url', `http://127.0.0.1:${proxy.address().port}/mcp`, '--scenario', scenario]
  const run = spawn(node, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [run.stdout, run.stderr]) stream.on('data', data => { said += data })
  const code = await new Promise(resolve => run.on('close', resolve))
  console.log(JSON.stringify({ scenario, code, said: code === 0 ? undefined : said.slice(-2000) }))
}
proxy.close()
