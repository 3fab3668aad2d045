// Time from the start of a server to its answers, and its memory before a model is loaded.
// usage: node eng/package/startup.mjs PROGRAM [ROUNDS=11]
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const [program, rounds = "11"] = process.argv.slice(2);
if (!program) {
  console.error("usage: node eng/package/startup.mjs PROGRAM [ROUNDS]");
  process.exit(2);
}

const request = (id, method, params = {}) => JSON.stringify({ jsonrpc: "2.0", id, method, params }) + "\n";
const initialize = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "startup", version: "1" } };

async function round() {
  const started = performance.now();
  const server = spawn(program, ["serve"], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: server.stdout })[Symbol.asyncIterator]();
  server.stdin.write(request(1, "initialize", initialize));
  await lines.next();
  const answered = performance.now();
  server.stdin.write(JSON.stringify({ jsonrpc: "2.0", method: "notifications/initialized" }) + "\n" + request(2, "tools/list"));
  await lines.next();
  const listed = performance.now();
  const resident = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))[1]) / 1024;
  const exit = new Promise((resolve) => server.once("exit", resolve));
  server.stdin.end();
  await exit;
  return [answered - started, listed - answered, resident];
}

const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
await round(); // pages in the files
const results = [];
for (let i = 0; i < Number(rounds); i++) {
  results.push(await round());
}

const [first, tools, memory] = [0, 1, 2].map((i) => median(results.map((r) => r[i])));
console.log(`initialize answered after ${first.toFixed(0)} ms, tools/list ${tools.toFixed(0)} ms later, ${memory.toFixed(0)} MiB resident (medians of ${rounds})`);
