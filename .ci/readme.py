#!/usr/bin/env python3
"""Runs the commands in README.md and OPERATIONS.md as a reader would, and compares what they print with what the page shows.

usage: readme.py test-command     print README's test command
       readme.py demo             run the demo command, paste what it prints, then every `sh demo` block
       readme.py deploy           run every `sh deploy` block in a home of its own, before the upstream that the page emulates
       readme.py operations       run every `sh host` block of OPERATIONS.md on a host of its own (tests/deploy/host.py, whose
                                  Python this must run by), before an emulated upstream

A `text output` block belongs to the `sh` block before it: each of its lines must be printed in that order, with
anything at `…`. A block of any other kind is an error: a command that nobody runs rots.
"""

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
KINDS = {
    "README.md": [
        *("mermaid", "sh", "sh demo", "text output"),
        *("sh deploy", "sh deploy emulator", "sh deploy background", "sh deploy stopped"),
    ],
    "OPERATIONS.md": ["sh host", "sh host postgres", "text output"],
}

# Seconds. A build may come first; nothing else takes long.
BUILD = 1500


def blocks(page="README.md"):
    """(kind, text, line) of each fenced block."""
    found, kind = [], None
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        if not line.startswith("```"):
            if kind is not None:
                text.append(line)
        elif kind is None:
            kind, text, start = line[3:].strip(), [], number
            if kind not in KINDS[page]:
                sys.exit(f"{page}:{number}: a block of kind `{kind}`; known are {', '.join(KINDS[page])}")
        else:
            found.append((kind, "\n".join(text), start))
            kind = None
    return found


def headlines():
    """The two commands that README begins with: the demo's, the tests'."""
    found = [text for kind, text, _ in blocks() if kind == "sh"]
    if len(found) != 2 or any("\n" in text for text in found):
        sys.exit("README.md must have two `sh` blocks of one line: the demo and the tests")
    return found


def marker(name):
    """Says in what is printed where the next command begins."""
    return f"echo; echo '@@ {name}'"


def in_background(command, name, ready):
    """Starts a command, which goes on, and waits until it says that it is ready. The shell's variable `name` has its id."""
    return [
        # Without braces: the job is the program, and the signal reaches it and no shell around it.
        f"{command} >../{name}.log 2>&1 &",
        f"{name}=$!",
        f"until grep -q '{ready}' ../{name}.log; do",
        f"  kill -0 ${name} || {{ cat ../{name}.log; exit 1; }}; sleep 0.1",
        "done",
    ]


def script(place, page="README.md"):
    """The place's blocks as one script that says where it is, and what each must print."""
    lines, expected, last, moved = [], {}, None, False
    for kind, text, line in blocks(page):
        if kind.startswith("sh"):
            last = line if kind.split()[1:2] == [place] else None
            # A page in two passes: the record in SQLite throughout; and, on a host that is set up anew, in PostgreSQL.
            if kind == "sh host postgres":
                moved, last = True, line if place == "postgres" else None
            elif place == "postgres" and not moved:
                last = line
        if kind == "text output" and last:
            expected[f"{page}:{last}"] = text
        if last != line:
            continue
        lines.append(marker(f"{page}:{line}"))
        if kind.endswith("emulator"):
            lines += in_background(f'{text} --address "127.0.0.1:$EMULATOR_PORT"', "emulator", "what happened")
            lines += ["trap 'kill -TERM $emulator' EXIT"]
        elif kind.endswith("background"):
            lines += in_background(text, "serve", "serving")
            lines += ["trap 'kill -TERM $serve; wait $serve; cat ../serve.log; kill -TERM $emulator' EXIT"]
        elif kind.endswith("stopped"):
            # It may have been stopped by a block before.
            lines += ["trap 'kill -TERM $emulator' EXIT", "if kill -TERM $serve 2>/dev/null; then wait $serve; fi", text]
        else:
            lines.append(text)
    return "\n".join(lines), expected


def run(text, expected, where=(), **options):
    """Runs a script in bash (by the command `where`), shows what it prints, and compares."""
    # Job control, so that what runs in the background gets its own signals.
    text = f"set -euo pipefail\nset -m\n{text}\n"
    ended = subprocess.run(
        [*where, "bash", "-c", text],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD,
        **options,
    )
    print(re.sub(r"(?m)^", "  ", ended.stdout))
    printed = re.split(r"(?m)^@@ (.+)$", ended.stdout)
    printed = dict(zip(printed[1::2], printed[2::2]))
    if ended.returncode != 0:
        sys.exit(f"{next(reversed(printed), 'before the first block')}: exit code {ended.returncode}")
    for name, lines in expected.items():
        parts = [".*".join(map(re.escape, shown.split("…"))) for shown in lines.splitlines()]
        pattern = r"(?m)^" + r"$[\s\S]*^".join(parts) + "$"
        if not re.search(pattern, printed[name]):
            sys.exit(f"{name}: this was not printed:\n{lines}")
    print(f"{len(printed)} commands and blocks do what the page says")


@contextlib.contextmanager
def started(command, ready, **options):
    """Runs a command until it is no longer needed; gives what it printed until `ready`. Ctrl-C must end it well."""
    with tempfile.NamedTemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **options
        )
        try:
            until = time.monotonic() + BUILD
            while not re.search(ready, pathlib.Path(log.name).read_text()):
                if process.poll() is not None or time.monotonic() > until:
                    sys.exit(f"`{command}` did not start:\n{pathlib.Path(log.name).read_text()}")
                time.sleep(0.1)
            yield pathlib.Path(log.name).read_text()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
            code = process.wait(timeout=60)
        if code != 0:
            sys.exit(f"`{command}` ended with {code}:\n{pathlib.Path(log.name).read_text()}")


# What each command that the demo prints must answer, as in a `text output` block; `as` is curl, so its last line is
# made to be the status.
PASTED = {
    "as viewer": "{\"success\":true,…\n200",
    "as operator": "{\"success\":false,\"errors\":[{\"code\":99400,…\n403",
    "as admin": "…\"psk\":\"…\n200",
    "tunnelwarden audit list": "…outcome…viewer@demo…get…200…\n…refusal…operator@demo…403 forbidden…\n…admin@demo…200…",
    "tunnelwarden audit verify": "good: … entries and … checkpoints of … are as they were recorded",
}


def pasted(told):
    """The demo's own commands as a script, and what each must print."""
    commands = re.findall(r"(?m)^  (.*)$", told.partition("Paste this")[2])
    lines, expected = [], {}
    for command in commands:
        start = next((start for start in PASTED if command.startswith(start)), None)
        if start:
            expected[f"pasted: {start}"] = PASTED[start]
            lines.append(marker(f"pasted: {start}"))
        status = " -w '\\n%{http_code}\\n'" if command.startswith("as ") else ""
        lines.append(command + status)
    if len(expected) != len(PASTED):
        sys.exit(f"the demo prints these commands to paste, and should print others:\n{commands}")
    return "\n".join(lines), expected


def demo():
    command = headlines()[0]
    print(f"$ {command}", flush=True)
    with started(["bash", "-c", command], "Ctrl-C ends it", cwd=ROOT) as told:
        print(told)
        first, answers = pasted(told)
        text, expected = script("demo")
        try:
            run(f"{first}\n{text}", answers | expected, cwd=ROOT)
        finally:
            folder = re.search(r"(?m)^  record +(/.*)/audit\.db$", told)[1]
    # What it leaves is in a temporary folder of its own making.
    subprocess.run(["rm", "-r", folder], check=True)


def toolchain():
    """Where Rust is, for a shell with another home."""
    home = pathlib.Path.home()
    return {
        "CARGO_HOME": os.environ.get("CARGO_HOME", f"{home}/.cargo"),
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", f"{home}/.rustup"),
    }


# What a reader of OPERATIONS.md has and this host has not: Cloudflare, and a token for it. What the unit says of the upstream
# is what an administrator's `systemctl edit` would say.
UPSTREAM = """
"$PROGRAM" emulator --address 127.0.0.1:8787 --seed-tunnels 1 --token-file "$HOME/emulator-token" >/dev/null 2>&1 &
# PostgreSQL waits for whoever is connected, unless it is told to by this signal.
trap 'kill -INT $(jobs -p); wait' EXIT
until [ -s "$HOME/emulator-token" ]; do sleep 0.1; done
CLOUDFLARE_API_TOKEN=$(cat "$HOME/emulator-token")
TUNNELWARDEN__UPSTREAM__BASE_URL=http://127.0.0.1:8787/client/v4
export CLOUDFLARE_API_TOKEN TUNNELWARDEN__UPSTREAM__BASE_URL
mkdir -p /etc/systemd/system/tunnelwarden.service.d
printf '[Service]\\nEnvironment=TUNNELWARDEN__UPSTREAM__BASE_URL=%s\\n' "$TUNNELWARDEN__UPSTREAM__BASE_URL" \\
  >/etc/systemd/system/tunnelwarden.service.d/emulator.conf
"""

# And a PostgreSQL, whose superuser needs no password from this host; whoever else comes does.
SERVER = """
export PATH=$PATH:$(ls -d /usr/lib/postgresql/*/bin | tail -1) PGHOST=127.0.0.1 PGUSER=postgres
data=/var/lib/server
install -d -m 700 -o 65534 -g 65534 $data
as_nobody() { cd / && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
(as_nobody initdb --username=postgres --auth=trust $data) >/dev/null
printf 'host all postgres 127.0.0.1/32 trust\\nhost all all 127.0.0.1/32 scram-sha-256\\n' >$data/pg_hba.conf
(as_nobody postgres -D $data -c unix_socket_directories='') >/dev/null 2>&1 &
until pg_isready --quiet; do sleep 0.1; done
"""


def operations():
    environment = {**os.environ, **toolchain(), "PROGRAM": f"{ROOT}/target/debug/tunnelwarden"}
    host = [sys.executable, f"{ROOT}/tests/deploy/host.py"]
    text, expected = script("host", "OPERATIONS.md")
    run(f"{UPSTREAM}\n{text}", expected, where=host, cwd=ROOT, env=environment)
    text, expected = script("postgres", "OPERATIONS.md")
    run(f"{UPSTREAM}\n{SERVER}\n{text}", expected, where=host, cwd=ROOT, env=environment)


def deploy():
    with tempfile.TemporaryDirectory() as folder:
        free = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        admin, emulator = (one.getsockname()[1] for one in free)
        for one in free:
            one.close()
        environment = {
            **os.environ,
            "HOME": folder,
            **toolchain(),
            # What a reader has and this machine has not: a token, which the emulated Cloudflare takes as its own, and ports of
            # one's own.
            "CLOUDFLARE_API_TOKEN": f"cfut_{'emulated' * 5}",
            "EMULATOR_PORT": str(emulator),
            "TUNNELWARDEN__UPSTREAM__BASE_URL": f"http://127.0.0.1:{emulator}/client/v4",
            "TUNNELWARDEN__LISTEN__ADDRESS": "127.0.0.1:0",
            "TUNNELWARDEN__ADMIN__ADDRESS": f"127.0.0.1:{admin}",
        }
        run(*script("deploy"), cwd=ROOT, env=environment)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["test-command"]:
            print(headlines()[1])
        case ["demo"]:
            demo()
        case ["deploy"]:
            deploy()
        case ["operations"]:
            operations()
        case _:
            sys.exit(__doc__)
