// Compares ryzenllm with llama.cpp (npm package node-llama-cpp) on the same files, round by round in turn, because a shared machine drifts.
// Usage: npm install && node compare.mjs --program PATH/ryzenllm [--rounds 5] [--threads 2] [--prompt 128] [--decode 32] MODEL.gguf ...
import { execFileSync, spawnSync } from "node:child_process";
import { parseArgs } from "node:util";
import path from "node:path";
import { fileURLToPath } from "node:url";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    program: { type: "string" },
    rounds: { type: "string", default: "5" },
    threads: { type: "string", default: "2" },
    prompt: { type: "string", default: "128" },
    decode: { type: "string", default: "32" },
    peer: { type: "boolean", default: false }, // internal: one round of the peer in a process of its own
  },
});
const [rounds, threads, prompt, decode] = ["rounds", "threads", "prompt", "decode"].map((key) => Number(values[key]));

async function runPeer(file) {
  const { getLlama, LlamaLogLevel } = await import("node-llama-cpp");
  const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
  const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 });
  const context = await model.createContext({ contextSize: 1024, batchSize: 512, threads });
  const sequence = context.getSequence();
  const ids = Array.from({ length: prompt }, (_, i) => (i * 37) % 1000 + 10);
  await sequence.evaluateWithoutGeneratingNewTokens(ids.slice(0, 4)); // first pages and threads
  await sequence.clearHistory();
  let start = performance.now();
  await sequence.evaluateWithoutGeneratingNewTokens(ids);
  const promptSeconds = (performance.now() - start) / 1000;
  let count = 0;
  for await (const _ of sequence.evaluate([11], { temperature: 0, yieldEogToken: true })) {
    if (count++ === 0) start = performance.now();
    if (count > decode) break;
  }
  const decodeSeconds = (performance.now() - start) / 1000;
  console.log(JSON.stringify({ prompt: prompt / promptSeconds, decode: decode / decodeSeconds }));
  process.exit(0);
}

function peer(file) {
  const self = fileURLToPath(import.meta.url);
  const run = spawnSync(process.execPath, [self, "--peer", "--threads", values.threads, "--prompt", values.prompt, "--decode", values.decode, file], { encoding: "utf8" });
  const line = run.stdout?.trim().split("\n").findLast((l) => l.startsWith("{"));
  return line ? JSON.parse(line) : null; // a model that it cannot load
}

function ours(file) {
  const out = execFileSync(values.program, ["bench", "--model", file, "-p", values.prompt, "-n", values.decode, "-t", values.threads, "--json"], { encoding: "utf8" });
  const [result] = JSON.parse(out);
  return { prompt: result.prompt_tokens_per_second, decode: result.decode_tokens_per_second };
}

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
const spread = (list) => `${Math.min(...list).toFixed(2)}-${Math.max(...list).toFixed(2)}`;

if (values.peer) {
  await runPeer(positionals[0]);
} else {
  console.log("| model | | ryzenllm | llama.cpp | ratio (median of rounds) | spread |\n|---|---|---|---|---|---|");
  for (const file of positionals) {
    const pairs = [];
    for (let round = 0; round < rounds; round++) {
      pairs.push([ours(file), peer(file)]);
    }
    for (const key of ["prompt", "decode"]) {
      const us = median(pairs.map(([a]) => a[key]));
      const both = pairs.filter(([, b]) => b).map(([a, b]) => [a[key], b[key]]);
      const ratios = both.map(([a, b]) => a / b);
      const them = both.length ? median(both.map(([, b]) => b)).toFixed(1) : "does not load";
      console.log(`| ${path.basename(file)} | ${key} | ${us.toFixed(1)} | ${them} | ${ratios.length ? median(ratios).toFixed(2) : ""} | ${ratios.length ? spread(ratios) : ""} |`);
    }
  }
}
