#!/usr/bin/env bash
# Builds in Release with warnings as errors, checks the format, runs every test. Usage: eng/test.sh [RESULTS_FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
results=${1:-artifacts/test-results}
dotnet restore --locked-mode
dotnet build --no-restore -c Release
dotnet format --no-restore --verify-no-changes
for project in test/*.Tests; do
  name=$(basename "$project")
  dotnet test --no-build -c Release "$project" --logger "trx;LogFileName=$name.trx" --results-directory "$results" || failed=1
done
exit "${failed:-0}"
