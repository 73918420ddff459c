// The first TypeScript SDK against a node: over standard input and output, and over HTTP.
// node v1.js GUILDER HOME URL TOKEN SERVICE
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'

const [guilder, home, url, token, service] = process.argv.slice(2)

async function walk (way, transport) {
  const client = new Client({ name: 'test', version: '1.0.0' })
  await client.connect(transport)
  // Listing compiles every output schema: each answer is held against its own.
  const { tools } = await client.listTools()
  const call = (name, args, options) => client.callTool({ name, arguments: args }, undefined, options)
  const found = await call('find', { service })
  const progress = []
  const hired = await call('hire', { service, input: 'hello', max_price: 5 }, { onprogress: said => progress.push(said) })
  const { task, output } = hired.structuredContent
  const audit = await call('audit', { id: task.id })
  const failed = await call('task', { id: 'zzzz' })
  console.log(JSON.stringify({
    way,
    server: client.getServerVersion().name,
    tools: tools.map(tool => tool.name),
    sellers: found.structuredContent.sellers.map(seller => seller.seller),
    output: output.text,
    trust: output.trust,
    receipt: output.receipt === task.receipt && typeof task.receipt === 'string',
    progress: progress.length > 0,
    delivered: audit.structuredContent.hires[0].delivered,
    failed: [failed.isError, JSON.parse(failed.content[1].text).error.code]
  }))
  await client.close()
}

await walk('stdio', new StdioClientTransport({ command: guilder, args: ['--home', home, 'mcp'] }))
const requestInit = { headers: { authorization: `Bearer ${token}` } }
await walk('http', new StreamableHTTPClientTransport(new URL(url), { requestInit }))
