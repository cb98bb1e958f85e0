"""Notices who else used the machine during a load, and lets a disturbed load be repeated.

A compiler beside it makes any proxy look slow. What the candidate, the load and the upstream used is known to the
kernel; whatever else was busy, on either core, is a disturbance. Not here: the loads (load.py).
"""

import os
import resource
import sys
import time
from pathlib import Path

from process import TICKS

# Of one core. The kernel's own threads, and ticks that are counted for whoever runs when they come, stay below it.
TOLERATED = 0.08
# Waiting and repetitions over a whole run take no longer than this.
PATIENCE = 300
# Between two looks at a machine that is not quiet.
PAUSE = 2


def used_by_all(cores):
    """Seconds of work on these cores by anybody: user, nice, system, stolen. Interrupts belong to nobody."""
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in {f"cpu{core}" for core in cores}:
            ticks += sum(int(fields[at]) for at in (0, 1, 2, 7))
    return ticks / TICKS


def used_by_us(processes):
    """Seconds of these processes, of the referee, and of its children that have ended."""
    ours, children = os.times(), resource.getrusage(resource.RUSAGE_CHILDREN)
    return (sum(process.cpu() for process in processes) + ours.user + ours.system
            + children.ru_utime + children.ru_stime)


class Quiet:
    """Carries loads out while the machine is quiet."""

    def __init__(self, cores, upstream):
        self.cores = cores
        self.upstream = upstream
        self.left = PATIENCE
        self.disturbed = 0

    def wait(self):
        """Until a moment of quiet: nothing of ours runs meanwhile that would be worth counting."""
        while self.left > 0:
            before = used_by_all(self.cores)
            time.sleep(0.3)
            if used_by_all(self.cores) - before <= 0.3 * 2 * TOLERATED:
                return
            time.sleep(PAUSE)
            self.left -= PAUSE

    def load(self, process, act):
        """Carries `act` out, again while others disturb it; answers the least disturbed result."""
        best = None
        while True:
            self.wait()
            began, all_before = time.monotonic(), used_by_all(self.cores)
            ours_before = used_by_us([process, self.upstream])
            result = act()
            ours = used_by_us([process, self.upstream]) - ours_before
            took = time.monotonic() - began
            result["others"] = max(0.0, used_by_all(self.cores) - all_before - ours) / took
            if best is None or result["others"] < best["others"]:
                best = result
            if best["others"] <= TOLERATED or self.left <= 0:
                break
            print(f"  others used {result['others']:.0%} of a core; again", file=sys.stderr, flush=True)
            self.left -= time.monotonic() - began
        self.disturbed += best["others"] > TOLERATED
        return best
