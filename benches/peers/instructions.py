"""Instructions that a call costs tunnelwarden, by callgrind: the figure by which two commits can be compared.

It is the same within a few per cent whatever else the machine does, where time is not. It counts what the program and
its libraries do and nothing of the kernel's; valgrind's processor has no SHA extensions, so hashes count for ten times
what they cost. Not here: time (load.py).
"""

import re
import socket
import threading

import mixes
from load import CONNECTIONS
from process import Failed
from setting import run

# Each kind's calls, first some that are not counted: caches are filled, statements prepared.
WARM, COUNTED = 64, 640


def asked(kind, tokens):
    """That many requests of one kind, each write on a tunnel of its own."""
    made = []
    for n in range(WARM + COUNTED):
        token = tokens[n % len(tokens)]
        if kind == "read":
            made.append(mixes.raw("GET", f"{mixes.COLLECTION}/{0x10000 + n % mixes.READ_TUNNELS:032x}", token))
        else:
            method, below, body = mixes.WRITES[n % len(mixes.WRITES)]
            made.append(mixes.raw(method, f"{mixes.COLLECTION}/{0x20000 + n:032x}{below}", token, body))
    return made


def exchange(connection, request):
    """One call over an open connection; its status."""
    connection.sendall(request)
    answer = connection.recv(1 << 16)
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(1 << 16)
    head, _, body = answer.partition(b"\r\n\r\n")
    left = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1]) - len(body)
    while left > 0:
        left -= len(connection.recv(1 << 16))
    return int(head.split()[1])


def send(port, made):
    """Sends all, over as many connections as the loads have, one at a time over each."""
    bad = []

    def some(which):
        with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
            bad.extend(status for status in (exchange(connection, one) for one in which) if status != 200)

    threads = [threading.Thread(target=some, args=(made[n::CONNECTIONS],)) for n in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if bad:
        raise Failed(f"{len(bad)} of {len(made)} calls were not answered with 200 but {bad[0]}")


def count(setting, candidate, kind):
    """Instructions a call of this kind."""
    out = setting.dir / f"{kind}.callgrind"
    around = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
    made = asked(kind, setting.tokens)
    with candidate.start(around=around) as process:
        send(candidate.port, made[:WARM])
        run("callgrind_control", "--instr=on", process.child.pid)
        send(candidate.port, made[WARM:])
        run("callgrind_control", "--instr=off", process.child.pid)
    total = re.search(r"^totals: (\d+)", out.read_text(), re.MULTILINE)
    if not total:
        raise Failed(f"callgrind wrote no total:\n{process.told()}")
    return int(total[1]) // COUNTED


def table(setting, candidate):
    """The figures as text."""
    lines = ["| call | instructions |", "| --- | ---: |"]
    for kind in ("read", "write"):
        lines.append(f"| {kind} | {count(setting, candidate, kind):,} |")
    return "\n".join(lines)
