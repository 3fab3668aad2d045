// The built program as clients start it: over stdio as a child of the client, over HTTP as a server of its own on a free port.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const models = join(root, 'test/Fixtures/golden/models');

export const path = join(root, 'src/RyzenLlm.Mcp/bin/Release/net10.0/ryzenllm');
export const token = 'clients-0123456789abcdef0123456789';
export const folder = mkdtempSync(join(tmpdir(), 'ryzenllm-clients-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

writeFileSync(
  join(folder, 'tokens.json'),
  JSON.stringify({ tokens: [{ name: 'clients', token, tenant: 'clients', scopes: ['generate', 'recall', 'store', 'forget', 'share', 'models'] }] }),
  { mode: 0o600 });

// A model whose vocabulary names no end token, so that only a limit ends its texts.
export const endless = 'endless';
const bytes = readFileSync(join(models, 'mamba-f32.gguf'));
bytes.write('xxx', bytes.indexOf('tokenizer.ggml.eos_token_id') + 'tokenizer.ggml.'.length);
writeFileSync(join(folder, `${endless}.gguf`), bytes);

export const environment = {
  PATH: process.env.PATH,
  HOME: process.env.HOME,
  ...(process.env.DOTNET_ROOT ? { DOTNET_ROOT: process.env.DOTNET_ROOT } : {}),
  RYZENLLM__MODELS__FOLDERS__0: models,
  RYZENLLM__MODELS__FOLDERS__1: folder,
  RYZENLLM__MODELS__DEFAULT: 'mamba-f32',
  RYZENLLM__ENGINE__THREADS: '1',
  RYZENLLM__MEMORY__STORE: `sqlite:${join(folder, 'memory.db')}`,
  RYZENLLM__SERVER__TOKENFILE: join(folder, 'tokens.json'),
  RYZENLLM__SERVER__PROGRESSSECONDS: '0.002',
  RYZENLLM__SERVER__LIMITS__REQUESTSPERMINUTE: '0',
};

// Starts it over HTTP; gives its address and how to stop it.
export function serve(...options) {
  const child = spawn(path, ['serve', '--urls', 'http://127.0.0.1:0', ...options], { env: environment, stdio: ['ignore', 'ignore', 'pipe'] });
  const stop = () => child.kill('SIGKILL');
  process.on('exit', stop);
  return new Promise((found, failed) => {
    let said = '';
    child.stderr.setEncoding('utf8').on('data', text => {
      said += text;
      const port = said.match(/serving MCP at http:\/\/127\.0\.0\.1:(\d+)/)?.[1];
      if (port) found({ url: `http://localhost:${port}/mcp`, stop });
    });
    child.on('exit', code => failed(new Error(`the server ended with ${code}: ${said}`)));
  });
}

// Runs a program to its end; gives code and output.
export function run(command, args) {
  const child = spawn(command, args, { env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'pipe'] });
  return new Promise(done => {
    let output = '';
    let errors = '';
    child.stdout.setEncoding('utf8').on('data', text => (output += text));
    child.stderr.setEncoding('utf8').on('data', text => (errors += text));
    child.on('close', code => done({ code, output, errors }));
  });
}
