#!/usr/bin/env bash
# Many clients on one server with mixed tools and random cancellations; memory and descriptors must stay flat. Usage: eng/soak.sh [MINUTES] (60; CI: 5)
set -euo pipefail
cd "$(dirname "$0")/.."
exec dotnet run -c Release --project test/RyzenLlm.Endurance -- soak --minutes "${1:-60}" --clients "${CLIENTS:-50}"
