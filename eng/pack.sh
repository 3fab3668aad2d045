#!/usr/bin/env bash
# Makes what people install: an MCPB bundle for one platform (all in one file, with the .NET runtime) and the NuGet tool package (any platform with
# .NET 10). Usage: eng/pack.sh [RUNTIME_IDENTIFIER] [FOLDER]    e.g. eng/pack.sh win-x64 artifacts/packages
set -euo pipefail
cd "$(dirname "$0")/.."
rid=${1:-linux-x64}
target=${2:-artifacts/packages}
work=artifacts/pack
rm -rf "$work/bundle"
mkdir -p "$target" "$work"
target=$(cd "$target" && pwd)

# Own folders for intermediate files, so that a build in the source tree is not disturbed; a runtime of its own is not in the lock files.
common=(-c Release --artifacts-path "$work/build" -v q --nologo -p:RestoreLockedMode=false -p:NuGetLockFilePath=obj/pack.lock.json)

# Compiled ahead as one image with the runtime, where that exists: code that generic types of both need is in it too, which is a third of the time to the
# first answer. Formats of other systems have no such image.
composite=false
[[ $rid == linux-* ]] && composite=true

echo "bundle for $rid"
dotnet publish src/RyzenLlm.Mcp "${common[@]}" -r "$rid" --self-contained -p:PublishReadyToRun=true -p:PublishReadyToRunComposite=$composite -p:DebugType=none \
  -o "$work/bundle/server"
cp mcp-manifest.json "$work/bundle/manifest.json"
cp LICENSE "$work/bundle/"
npm ci --silent --prefix eng/package
eng/package/node_modules/.bin/mcpb validate "$work/bundle/manifest.json"
eng/package/node_modules/.bin/mcpb pack "$work/bundle" "$target/ryzenllm-$rid.mcpb" >"$work/mcpb.log" || { cat "$work/mcpb.log"; exit 1; }

echo "tool package"
dotnet pack src/RyzenLlm.Mcp "${common[@]}" -o "$target"
ls -lh "$target"
