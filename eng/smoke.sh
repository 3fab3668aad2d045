#!/usr/bin/env bash
# Starts the built server as a client would, over stdio: initialize, list the tools, generate a few words, close.
set -euo pipefail
cd "$(dirname "$0")/.."
program=src/RyzenLlm.Mcp/bin/Release/net10.0/ryzenllm
answers=$(mktemp)
trap 'rm -f "$answers"' EXIT

# Standard input stays open until the last answer is there: a client that hangs up cancels its calls.
request() { printf '%s\n' "$1" >&3; }
await() {
  for _ in $(seq 300); do
    grep -q "\"id\":$1[,}]" "$answers" && return 0
    sleep 0.2
  done
  echo "no answer to request $1" >&2
  cat "$answers" >&2
  return 1
}

pipe=$(mktemp -u)
mkfifo "$pipe"
timeout 120 "$program" serve <"$pipe" >"$answers" &
server=$!
exec 3>"$pipe"
rm -f "$pipe"
request '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"smoke","version":"1"}}}'
await 1
request '{"jsonrpc":"2.0","method":"notifications/initialized"}'
request '{"jsonrpc":"2.0","id":2,"method":"tools/list"}'
await 2
request '{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"generate","arguments":{"prompt":"Once upon a time","max_tokens":12,"temperature":0}}}'
await 3
exec 3>&-
wait "$server"
grep -q '"name":"generate"' "$answers" || { echo "generate is not listed" >&2; exit 1; }
grep '"id":3[,}]' "$answers" | grep -q '"isError":true' && { echo "generate failed:" >&2; cat "$answers" >&2; exit 1; }
grep -v '^{"' "$answers" && { echo "standard output holds more than the protocol" >&2; exit 1; }
echo "server answered: $(grep '"id":3[,}]' "$answers" | head -c 300)"
