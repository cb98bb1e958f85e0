#!/usr/bin/env python3
"""Takes each defence of defences.toml out, one at a time, and wants its tests to fail.

usage: defences.py [--part K/N] [WORD...]
  WORD        only defences whose name has one of these words in it
  --part K/N  only each N-th, from the K-th on (1 is the first), for several runs side by side

Works on a copy of the sources in target/defences, or in the folder that the variable DEFENCES names, and compiles there or in
CARGO_TARGET_DIR. First all of the tests have to pass. Some need root, or the packages that README names; one that is left out does not
fail, which is told. All of it takes some three hours of two cores. Needs Python 3.11.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
COPY = pathlib.Path(os.environ.get("DEFENCES", ROOT / "target" / "defences"))
SOURCES = COPY / "sources"
# Where this is the project's own, a test of the whole program leaves one without a defence there, until it is built again.
COMPILED = os.path.abspath(os.environ.get("CARGO_TARGET_DIR", COPY / "target"))
# A test that waits for what never comes is ended, which is no failure of its own.
PATIENCE = 600


def fresh_copy():
    shutil.rmtree(SOURCES, ignore_errors=True)
    names = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], check=True, stdout=subprocess.PIPE, text=True).stdout
    for name in filter(None, names.split("\0")):
        target = SOURCES / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)


def tests():
    """The target that each test is in: `lib`, `whole`, or that of a file beside `whole`."""
    files = [("whole", file) for file in (ROOT / "tests" / "whole").rglob("*.rs")]
    files += [(file.stem, file) for file in (ROOT / "tests").glob("*.rs")]
    files += [("lib", file) for file in (ROOT / "src").rglob("*.rs")]
    return {name: kind for kind, file in files for name in re.findall(r"\bfn (\w+)\(", file.read_text())}


def edits(defence):
    return [defence, *defence.get("more", [])]


def take_out(defence):
    for edit in edits(defence):
        file = SOURCES / edit["file"]
        text = file.read_text()
        if text.count(edit["from"]) != 1:
            sys.exit(f"{defence['name']}: {edit['file']} has {text.count(edit['from'])} times: {edit['from']}")
        file.write_text(text.replace(edit["from"], edit["to"]))


def put_back(defence):
    for edit in edits(defence):
        # Not with the old time: cargo would not see that it is another text.
        (SOURCES / edit["file"]).write_bytes((ROOT / edit["file"]).read_bytes())


def run(names, kinds):
    """What the tests of these names print, and whether they ended."""
    chosen = [word for kind in sorted(kinds) for word in (["--lib"] if kind == "lib" else ["--test", kind])]
    command = ["cargo", "test", "--locked", "--no-fail-fast", *chosen, "--", *names]
    # Where `CI` is set, a test that is left out fails: here it is to be told that it did not.
    own = {name: value for name, value in os.environ.items() if name != "CI"}
    env = own | {"CARGO_TARGET_DIR": COMPILED, "RUST_BACKTRACE": "0"}
    with subprocess.Popen(
        command, cwd=SOURCES, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        try:
            return process.communicate(timeout=PATIENCE)[0], True
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.communicate()[0], False
        except BaseException:
            # Whoever breaks this off means cargo and the tests, too, which are in a session of their own.
            os.killpg(process.pid, signal.SIGKILL)
            raise


def results(printed):
    """What became of each test, and of each module of tests: a test that is tried with several stores is one."""
    found = {}
    for path, result in re.findall(r"^test (\S+)(?: - should panic)? \.\.\. (FAILED|ok|ignored)", printed, re.M):
        for name in path.split("::"):
            if found.get(name, "ok") == "ok" or result == "FAILED":
                found[name] = result
    return found


def check_all_pass(defences, known):
    names = sorted({name for defence in defences for name in defence["tests"]})
    printed, _ = run(names, {known[name] for name in names})
    found = results(printed)
    if bad := [name for name in names if found.get(name) != "ok"]:
        (COPY / "before.log").write_text(printed)
        sys.exit(f"with all defences in place these don't pass: {', '.join(bad)}; see {COPY / 'before.log'}")
    print(f"tests that pass with all defences in place: {len(names)}", flush=True)


def try_one(defence, known):
    take_out(defence)
    began = time.monotonic()
    names = defence["tests"]
    printed, ended = run(names, {known[name] for name in names})
    put_back(defence)
    log = COPY / f"{re.sub(r'[^a-z0-9]+', '-', defence['name'].lower()).strip('-')}.log"
    log.write_text(printed)
    if "error: could not compile" in printed:
        return f"does not compile without it; see {log}"
    found = results(printed)
    failed = [name for name in names if found.get(name) == "FAILED"]
    passed = [name for name in names if name not in failed]
    if passed:
        return f"NOT NOTICED by {', '.join(passed)}{'' if ended else ', which did not end'}; see {log}"
    print(f"{defence['name']}: {', '.join(failed)} failed, {time.monotonic() - began:.0f} s", flush=True)
    return None


def main():
    words = sys.argv[1:]
    if words == ["--help"]:
        print(__doc__)
        return
    # As an interrupt does, which ends what was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("broken off"))
    part, parts = 1, 1
    if words[:1] == ["--part"] and len(words) > 1 and re.fullmatch(r"[1-9]\d*/[1-9]\d*", words[1]):
        part, parts = map(int, words[1].split("/"))
        words = words[2:]
    if part > parts or any(word.startswith("-") for word in words):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    defences = tomllib.loads((ROOT / "tests" / "mutants" / "defences.toml").read_text())["defence"]
    chosen = [defence for defence in defences if not words or any(word in defence["name"] for word in words)][part - 1 :: parts]
    if not chosen:
        sys.exit("no defence has such a name")
    fresh_copy()
    known = tests()
    check_all_pass(chosen, known)
    wrong = 0
    for defence in chosen:
        if said := try_one(defence, known):
            wrong += 1
            print(f"{defence['name']}: {said}", flush=True)
    if wrong:
        sys.exit(f"defences that could be taken out and nobody noticed: {wrong} of {len(chosen)}")
    print(f"defences that are missed by their tests when they are gone: all, {len(chosen)}")


if __name__ == "__main__":
    main()
