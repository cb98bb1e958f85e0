#!/usr/bin/env python3
"""Asks the index of crates.io whether a version that Cargo.lock names was yanked.

usage: yanked.py

`cargo deny` asks the same, together with the advisories; this is for where their database can't be reached. Needs Python 3.11.
"""

import concurrent.futures
import json
import pathlib
import sys
import tomllib
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"


def address(name):
    """The Cargo book, "Registry index", "Index files"."""
    name = name.lower()
    folder = {1: "1", 2: "2", 3: f"3/{name[0]}"}.get(len(name), f"{name[:2]}/{name[2:4]}")
    return f"https://index.crates.io/{folder}/{name}"


def is_yanked(package):
    with urllib.request.urlopen(address(package["name"]), timeout=30) as answer:
        known = [json.loads(line) for line in answer.read().splitlines()]
    (own,) = [version for version in known if version["vers"] == package["version"]]
    return own["yanked"]


def main():
    packages = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    packages = [package for package in packages if package.get("source") == REGISTRY]
    assert packages, "Cargo.lock names nothing of crates.io"
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(is_yanked, packages))
    except OSError as error:
        print(f"yanked versions: NOT CHECKED, {error}")
        return
    yanked = [f"{package['name']} {package['version']}" for package, answer in zip(packages, answers) if answer]
    if yanked:
        sys.exit(f"yanked, so take others: {', '.join(yanked)}")
    print(f"none of {len(packages)} versions is yanked")


main()
