"""Processes: started on one core, measured, and ended by their ids.

Not here: what is started (candidates.py, setting.py).
"""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """Something that the referee needs did not happen."""


def free_port():
    """A port of loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Running:
    """A process and its children, all on one core."""

    def __init__(self, name, command, core, log, port=None):
        self.name = name
        self.log = Path(log)
        with open(log, "ab") as out:
            self.child = subprocess.Popen(
                ["taskset", "--cpu-list", str(core), *map(str, command)],
                # The memory of what runs is measured from outside.
                env={**os.environ, "TUNNELWARDEN_ALLOW_DUMPS": "1"},
                stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            if port:
                self.wait_for(port)
        except BaseException:
            self.end()
            raise

    def wait_for(self, port):
        """Until somebody accepts connections there."""
        until = time.monotonic() + 30
        while time.monotonic() < until:
            if self.child.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.02)
        raise Failed(f"{self.name} does not serve:\n{self.told()}")

    def told(self):
        """The end of what it wrote to its standard streams."""
        return self.log.read_text(errors="replace")[-3000:]

    def pids(self):
        """Its id and those of its descendants."""
        parents = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parents[int(folder.name)] = int(folder.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
        found = [self.child.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def cpu(self):
        """Seconds of CPU time that all its threads have used, user and system."""
        ticks = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS

    def memory(self):
        """Resident and proportional set size in MiB."""
        sizes = {"Rss": 0, "Pss": 0}
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, _, rest = line.partition(":")
                if name in sizes:
                    sizes[name] += int(rest.split()[0])
        return sizes["Rss"] / 1024, sizes["Pss"] / 1024

    def end(self, pid=None):
        """Asks it to end, and makes it after ten seconds. `pid` where another process is to be asked."""
        if self.child.poll() is None:
            os.kill(pid or self.child.pid, signal.SIGTERM)
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                for left in reversed(self.pids()):
                    os.kill(left, signal.SIGKILL)
                self.child.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
