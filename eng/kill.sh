#!/usr/bin/env bash
# Kills the program at random moments of storing, forgetting, saving states and downloading; nothing acknowledged may be lost. Usage: eng/kill.sh [ROUNDS] (200)
set -euo pipefail
cd "$(dirname "$0")/.."
exec dotnet run -c Release --project test/RyzenLlm.Endurance -- kill --rounds "${1:-200}" --seed "${SEED:-1}"
