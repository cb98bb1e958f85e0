"""What durability costs: how long the disk takes to make a write durable, and how often tunnelwarden asks it to.

Not here: the loads (load.py), what the calls cost altogether (referee.py).
"""

import os
import re
import tempfile
import time
from collections import Counter
from pathlib import Path

from load import Load

# Appends of a page, each made durable: enough for a 99th percentile.
SYNCS = 500
PAGE = b"x" * 4096


def percentile(values, share):
    """The value that this share of all does not exceed."""
    return sorted(values)[max(0, int(len(values) * share + 0.999999) - 1)]


def latency(folder):
    """Microseconds of `fdatasync` after appending a page, with nothing else going on: median and 99th percentile."""
    took = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            os.write(file.fileno(), PAGE)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - began) * 1e6)
    return percentile(took, 0.5), percentile(took, 0.99)


def syncs(setting, candidate, quiet, name, act):
    """Starts the candidate under strace, loads it, and counts what it made durable: one line of text."""
    trace = Path(setting.dir / "strace.out")
    around = ["strace", "--follow-forks", "--seccomp-bpf", "--decode-fds=path", "--trace=fsync,fdatasync",
              f"--output={trace}"]
    with candidate.start(around=around) as process:
        proxy = process.pids()[-1]
        load = Load(setting, candidate, process, quiet)
        load.wrk("mixed", 1)
        began = len(trace.read_text().splitlines())
        entries = candidate.recorded()
        result = act(load)
        ended = trace.read_text().splitlines()
        entries = candidate.recorded() - entries
        process.end(proxy)
    files = Counter()
    for line in ended[began:]:
        found = re.search(r"(?:fsync|fdatasync)\(\d+<([^>]*)>", line)
        if found:
            files[re.sub(r"audit-\d+", "audit", Path(found[1]).name)] += 1
    total, commits = sum(files.values()), files["audit.db-wal"]
    by_file = ", ".join(f"{count} of {file}" for file, count in files.most_common())
    return (f"{name}: {result['requests']:,} calls, {entries:,} entries, {total:,} fsyncs ({by_file}): "
            f"{entries / max(commits, 1):.1f} entries a sync of the write-ahead log, "
            f"{total / result['requests']:.3f} fsyncs a call (under strace, so slower than the table)")


def notes(setting, candidate, quiet, options):
    """Lines about the disk, and about the fsyncs in an open and in a closed loop."""
    median, high = latency(setting.dir)
    rate, seconds = options.rate, options.seconds
    return [
        f"`fdatasync` of a 4 KiB append on the record's disk, alone: p50 {median:,.0f} us, p99 {high:,.0f} us",
        syncs(setting, candidate, quiet, f"fsyncs, mixed at {rate:,}/s",
              lambda load: load.pace("mixed", rate, seconds)),
        syncs(setting, candidate, quiet, "fsyncs, mixed in a closed loop", lambda load: load.wrk("mixed", seconds)),
    ]
