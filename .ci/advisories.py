#!/usr/bin/env python3
"""What the RustSec advisory database says of the crates in Cargo.lock, for where the database itself can't be reached.

usage: advisories.py repository FOLDER    makes a database of .ci/advisories.toml there, for `cargo deny`
       advisories.py extract FOLDER       writes .ci/advisories.toml anew, from a clone of the database

The extract has ids, dates and versions only: facts, which `cargo deny` judges as it judges the whole. It names each crate that
it was made for, so that a new one is not taken for one without advisories. Needs Python 3.11 and git 2.32.
"""

import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import textwrap
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXTRACT = ROOT / ".ci" / "advisories.toml"
HEADER = """\
# What github.com/RustSec/advisory-db (CC0 1.0) says of the crates in Cargo.lock, up to the day named: see advisories.py.

"""


def crates():
    packages = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    return sorted({package["name"] for package in packages if "source" in package})


def toml(table):
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in table.items())


def git(folder, *words):
    # What somebody's own git is told to leave out, or to run, must not decide what is in here.
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env = own | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(["git", "-C", folder, *words], check=True, stdout=subprocess.PIPE, text=True, env=env).stdout.strip()


def repository(folder):
    extract = tomllib.loads(EXTRACT.read_text())
    unasked = [name for name in crates() if name not in extract["crates"]]
    if unasked:
        sys.exit(
            f"the extract of the advisories was made before {', '.join(unasked)} came in: "
            "make it anew, with `.ci/advisories.py extract` and a clone of github.com/RustSec/advisory-db"
        )
    for advisory in extract["advisory"]:
        file = folder / "crates" / advisory["package"] / f"{advisory['id']}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        versions = {name: advisory.pop(name) for name in ("patched", "unaffected")}
        front = f"[advisory]\n{toml(advisory)}\n[versions]\n{toml(versions)}"
        about = f"of {advisory['package']}, see https://rustsec.org/advisories/{advisory['id']}"
        file.write_text(f"```toml\n{front}```\n\n# {advisory['id']}\n\n{about}\n")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", "--force", ".")
    git(folder, "-c", "user.name=extract", "-c", "user.email=extract@localhost", "commit", "--quiet", "--message", "extract")
    files, known = len(git(folder, "ls-files").splitlines()), len(extract["advisory"])
    if files != known:
        sys.exit(f"the repository has {files} files for {known} advisories")
    age = datetime.date.today() - datetime.date.fromisoformat(extract["until"])
    print(f"{known} advisories of {len(extract['crates'])} crates, up to {extract['until']}, {age.days} days ago")


def facts(file):
    front = tomllib.loads(re.match(r"```toml\n(.*?)```", file.read_text(), re.DOTALL)[1])
    kept = ("id", "package", "date", "informational", "withdrawn", "aliases")
    told = {name: front["advisory"][name] for name in kept if front["advisory"].get(name)}
    told |= {name: front["versions"].get(name, []) for name in ("patched", "unaffected")}
    return {name: str(value) if isinstance(value, datetime.date) else value for name, value in told.items()}


def write(until, names, known):
    names = textwrap.indent(textwrap.fill(", ".join(map(json.dumps, names)), 118, break_on_hyphens=False), "  ")
    tables = "".join(f"\n[[advisory]]\n{toml(advisory)}" for advisory in known)
    EXTRACT.write_text(f"{HEADER}{toml({'until': until})}crates = [\n{names}\n]\n{tables}")


def extract(folder):
    if not (folder / "crates").is_dir() or git(folder, "status", "--porcelain"):
        sys.exit(f"{folder} is no clone of the database with all its files as they are committed")
    known = [
        facts(file)
        for name in crates()
        for file in sorted((folder / "crates" / name).glob("RUSTSEC-*.md"))
        if "0000-0000" not in file.name
    ]
    if not known:
        sys.exit(f"{folder} knows of none of the crates in Cargo.lock, so it is no clone of the database")
    until = git(folder, "show", "-s", "--format=%cs", "HEAD")
    write(until, crates(), known)
    print(f"{len(known)} advisories of {len(crates())} crates, up to {until}")


match sys.argv[1:]:
    case ["repository", folder]:
        repository(pathlib.Path(folder))
    case ["extract", folder]:
        extract(pathlib.Path(folder))
    case _:
        sys.exit(__doc__)
