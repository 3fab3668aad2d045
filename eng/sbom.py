#!/usr/bin/env python3
"""Writes sbom.cdx.json, the CycloneDX bill of materials of the program, from its locked packages. Usage: eng/sbom.py"""
import base64
import json
import pathlib

root = pathlib.Path(__file__).resolve().parent.parent
lock = json.loads((root / "src/RyzenLlm.Mcp/packages.lock.json").read_text(encoding="utf-8-sig"))["dependencies"]["net10.0"]
version = (root / "Directory.Build.props").read_text(encoding="utf-8").split("<Version>")[1].split("<")[0]


def reference(name, entry):
    return f"pkg:nuget/{name}@{entry['resolved']}" if entry["type"] != "Project" else name


names = {name.lower(): name for name in lock}
components = [
    {
        "type": "library",
        "bom-ref": reference(name, entry),
        "name": name,
        "version": entry["resolved"],
        "purl": reference(name, entry),
        "hashes": [{"alg": "SHA-512", "content": base64.b64decode(entry["contentHash"]).hex()}],
    }
    for name, entry in sorted(lock.items())
    if entry["type"] != "Project"
]
dependencies = [
    {
        "ref": reference(name, entry),
        "dependsOn": sorted(reference(names[d.lower()], lock[names[d.lower()]]) for d in entry.get("dependencies", {}) if d.lower() in names),
    }
    for name, entry in sorted(lock.items())
]
dependencies.append({"ref": "ryzenllm", "dependsOn": sorted(reference(n, e) for n, e in lock.items() if e["type"] in ("Direct", "Project"))})
bill = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "version": 1,
    "metadata": {"component": {"type": "application", "bom-ref": "ryzenllm", "name": "RyzenLlm.Mcp", "version": version}},
    "components": components,
    "dependencies": dependencies,
}
(root / "sbom.cdx.json").write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")
print(f"sbom.cdx.json: {len(components)} packages")
