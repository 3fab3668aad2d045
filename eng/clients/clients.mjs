// Drives the built server with other people's clients, over every transport, in both protocol eras.
// Usage: node clients.mjs [RESULTS_FOLDER]
import assert from 'node:assert/strict';
import * as v2 from '@modelcontextprotocol/client';
import { StdioClientTransport as StdioV2 } from '@modelcontextprotocol/client/stdio';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport as SseV1 } from '@modelcontextprotocol/sdk/client/sse.js';
import { StdioClientTransport as StdioV1 } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport as HttpV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { endless, environment, path, run, serve, token } from './program.mjs';
import { Report } from './report.mjs';

const tools = ['generate', 'model-select', 'recall-context', 'store-context', 'forget-context', 'share-context'];
const info = { name: 'clients-test', version: '1' };
const answer = { action: 'accept', content: { confirm: true } };
const report = new Report('clients');
const server = await serve();
const headers = { Authorization: `Bearer ${token}` };
const transports = {
  stdio: ({ Stdio }) => new Stdio({ command: path, args: ['serve'], env: environment, stderr: 'ignore' }),
  http: ({ Http }) => new Http(new URL(server.url), { requestInit: { headers } }),
  sse: ({ Sse }) => new Sse(new URL(`${server.url}/sse`), { requestInit: { headers } }),
};

const first = {
  Stdio: StdioV1,
  Http: HttpV1,
  Sse: SseV1,
  create() {
    const client = new ClientV1(info, { capabilities: { elicitation: {} } });
    client.setRequestHandler(ElicitRequestSchema, async () => answer);
    return client;
  },
  call: (client, params, options) => client.callTool(params, undefined, options),
};
const second = mode => ({
  Stdio: StdioV2,
  Http: v2.StreamableHTTPClientTransport,
  Sse: v2.SSEClientTransport,
  create() {
    const client = new v2.Client(info, { capabilities: { elicitation: {} }, versionNegotiation: { mode } });
    client.setRequestHandler('elicitation/create', async () => answer);
    return client;
  },
  call: (client, params, options) => client.callTool(params, options),
});

async function exercise(kind, transport, name) {
  const client = kind.create();
  await client.connect(transport);
  const call = async (tool, args, options) => {
    const result = await kind.call(client, { name: tool, arguments: args }, options);
    assert.ok(!result.isError, JSON.stringify(result.content));
    return result;
  };
  try {
    assert.deepEqual((await client.listTools()).tools.map(t => t.name), tools);
    const short = await call('generate', { prompt: 'The wheel', max_tokens: 12, seed: 3 });
    assert.equal(short.content[0].text, short.structuredContent.text);

    const whole = { prompt: 'The wheel', model: endless, max_tokens: 6000, seed: 3 };
    const progress = [];
    const long = await call('generate', { ...whole, deadline_seconds: 600 }, { onprogress: p => progress.push(p.progress), timeout: 300_000 });
    assert.ok(progress.length > 0 && progress.every((p, i) => i === 0 || p > progress[i - 1]), `progress ${progress}`);
    const part = await call('generate', { ...whole, deadline_seconds: 0.05 });
    assert.equal(part.structuredContent.stop_reason, 'deadline');
    const rest = await call('generate', { continue: part.structuredContent.continue_from, deadline_seconds: 600 }, { timeout: 300_000 });
    assert.equal(part.structuredContent.text + rest.structuredContent.text, long.structuredContent.text);

    const wrong = await kind.call(client, { name: 'generate', arguments: { prompt: 'x', temperature: 11 } });
    assert.ok(wrong.isError && wrong.content[0].text.includes('temperature is 11'));

    const session = `clients ${name}`;
    await call('store-context', { text: `The lighthouse keeper of ${name} is called Ole.`, session });
    const recalled = await call('recall-context', { query: 'lighthouse keeper', session });
    assert.ok(recalled.content[0].text.includes('Ole'));
    const forgotten = await call('forget-context', { session, dry_run: false }); // the client asks its user, who agrees
    assert.equal(forgotten.structuredContent.remaining, 0);

    assert.ok((await client.listResources()).resources.some(r => r.uri === 'model://mamba-f32'));
    const model = JSON.parse((await client.readResource({ uri: 'model://mamba-f32' })).contents[0].text);
    assert.equal(model.architecture, 'mamba');
    const prompt = await client.getPrompt({ name: 'answer-with-memory', arguments: { question: 'Who?' } });
    assert.ok(prompt.messages[0].content.text.includes('Who?'));
    const names = await client.complete({ ref: { type: 'ref/resource', uri: 'model://{name}' }, argument: { name: 'name', value: 'rwkv7' } });
    assert.deepEqual(names.completion.values, ['rwkv7-f16', 'rwkv7-f32', 'rwkv7-q8_0']);
    return long.structuredContent.text;
  } finally {
    await client.close();
  }
}

const texts = new Set();
for (const [label, kind] of [['sdk 1', first], ['client 2 legacy', second('legacy')], ['client 2 2026-07-28', second({ pin: '2026-07-28' })]]) {
  for (const [transport, open] of Object.entries(transports)) {
    if (transport === 'sse' && label.endsWith('2026-07-28')) continue; // that version has no such transport
    const name = `${label} over ${transport}`;
    await report.attempt(name, async () => texts.add(await exercise(kind, open(kind), name)));
  }
}

await report.attempt('all clients got the same text', async () => assert.equal(texts.size, 1));

// The inspector's command line: --strict has it judge every schema.
const inspector = new URL('node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js', import.meta.url).pathname;
const authorization = ['--header', `Authorization: Bearer ${token}`];
const targets = {
  stdio: [path, 'serve'],
  http: [server.url, '--transport', 'http', ...authorization],
  sse: [`${server.url}/sse`, '--transport', 'sse', ...authorization],
};
for (const [transport, target] of Object.entries(targets)) {
  await report.attempt(`inspector over ${transport}`, async () => {
    const listed = await run(process.execPath, [inspector, '--cli', ...target, '--method', 'tools/list', '--strict']);
    assert.equal(listed.code, 0, listed.errors + listed.output);
    assert.deepEqual(JSON.parse(listed.output).tools.map(t => t.name), tools);
    const called = await run(process.execPath, [
      inspector, '--cli', ...target, '--method', 'tools/call', '--tool-name', 'generate', '--tool-arg', 'prompt=The wheel', 'max_tokens=5']);
    assert.equal(called.code, 0, called.errors + called.output);
    assert.equal(JSON.parse(called.output).structuredContent.completion_tokens, 5);
  });
}

server.stop();
report.end(process.argv[2]);
