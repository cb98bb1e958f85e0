"""Copies what cargo has built into a folder: cargo's JSON messages on standard input, the folder as argument."""

import json
import shutil
import sys

for line in sys.stdin:
    built = json.loads(line)
    if built.get("executable") and "bench" in built["target"]["kind"]:
        shutil.copy(built["executable"], f"{sys.argv[1]}/{built['target']['name']}")
