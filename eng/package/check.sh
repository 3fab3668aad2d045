#!/usr/bin/env bash
# Uses what eng/pack.sh made as people do: unpacks the bundle and runs its program, and runs the tool package with dnx. Usage: eng/package/check.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/../.."
packages=$(cd "${1:-artifacts/packages}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_DATA_HOME=$work/data XDG_CACHE_HOME=$work/cache XDG_CONFIG_HOME=$work/config

unzip -q "$packages"/ryzenllm-linux-x64.mcpb -d "$work/bundle"
chmod +x "$work/bundle/server/ryzenllm" # the host that installs it does this
"$work/bundle/server/ryzenllm" generate --max-tokens 8 "Once upon a time"
node eng/package/startup.mjs "$work/bundle/server/ryzenllm" 5

cd "$work"
NUGET_PACKAGES=$work/nuget dotnet dnx RyzenLlm.Mcp --source "$packages" --yes -- generate --max-tokens 8 "Once upon a time"
echo "bundle and package run"
