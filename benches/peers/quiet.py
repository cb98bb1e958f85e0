"""Notices who else used the machine during a load, and lets a disturbed load be repeated.

A compiler beside it makes any proxy look slow. The kernel knows what the candidate used, and what the load and the
upstream did; whatever else was busy on their cores is a disturbance. Not here: the loads (load.py).
"""

import os
import resource
import sys
import time
from pathlib import Path

from process import TICKS

# Of one core. The kernel's own threads, and ticks that are counted for whoever runs when they come, stay below it.
TOLERATED = 0.1
# Between two looks at a machine that is not quiet, and how long a look takes.
PAUSE = 2
LOOK = 0.5


def busy(core):
    """Seconds of work on a core by anybody: user, nice, system, stolen. Interrupts belong to nobody."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            return sum(int(fields[at]) for at in (0, 1, 2, 7)) / TICKS
    return 0.0


def of_load(upstream):
    """Seconds of the upstream, of the referee, and of its children that have ended."""
    ours, children = os.times(), resource.getrusage(resource.RUSAGE_CHILDREN)
    return upstream.cpu() + ours.user + ours.system + children.ru_utime + children.ru_stime


class Quiet:
    """Carries loads out while the machine is quiet.

    `patience` is what waiting and repeating may take in seconds, over the whole run."""

    def __init__(self, setting, upstream, patience):
        self.setting = setting
        self.upstream = upstream
        self.left = patience
        self.disturbed = 0

    def used(self, process=None):
        """Seconds of others on the proxy's core, and on the load's."""
        on_proxy = busy(self.setting.proxy_core) - (process.cpu() if process else 0)
        on_load = busy(self.setting.load_core) - of_load(self.upstream)
        return on_proxy, on_load

    def share(self, act, process=None):
        """What `act` answers, and the share that others used meanwhile of the core that they used more of."""
        began, before = time.monotonic(), self.used(process)
        result = act()
        after, took = self.used(process), time.monotonic() - began
        return result, max(0.0, *(late - early for early, late in zip(before, after))) / took

    def load(self, process, act):
        """Carries `act` out, again while others disturb it; answers the least disturbed result."""
        best = None
        while True:
            self.wait()
            began = time.monotonic()
            result, others = self.share(act, process)
            result["others"] = others
            if best is None or others < best["others"]:
                best = result
            if best["others"] <= TOLERATED or self.left <= 0:
                break
            print(f"  others used {others:.0%} of a core; again", file=sys.stderr, flush=True)
            self.left -= time.monotonic() - began
        self.disturbed += best["others"] > TOLERATED
        return best

    def wait(self):
        """Until a moment in which others do little."""
        while self.left > 0 and self.share(lambda: time.sleep(LOOK))[1] > TOLERATED:
            time.sleep(PAUSE)
            self.left -= PAUSE + LOOK
