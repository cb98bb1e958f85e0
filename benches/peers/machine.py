"""Says on what was measured: the machine, the disk, the programs and the commit.

Not here: what was measured (report.py).
"""

import os
import platform
import re
import subprocess
from pathlib import Path

from setting import ROOT, run


def first(pattern, text, otherwise="unknown"):
    """The first group where the pattern is found."""
    found = re.search(pattern, text, re.MULTILINE)
    return found[1].strip() if found else otherwise


def version(*command):
    """What a program prints about itself, on either stream."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    return done.stdout + done.stderr


def describe(setting):
    """Lines of `name: value`."""
    cpu = Path("/proc/cpuinfo").read_text()
    model, virtual = first(r"^model name\s*:(.*)$", cpu), first(r"^flags.*(hypervisor)", cpu, "no hypervisor")
    memory = int(first(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), "0")) / 1024 / 1024
    disk = run("findmnt", "-n", "-o", "SOURCE,FSTYPE,OPTIONS", "-T", setting.dir).decode().split()
    siblings = Path(f"/sys/devices/system/cpu/cpu{setting.proxy_core}/topology/thread_siblings_list")
    shared = siblings.read_text().strip() if siblings.exists() else "unknown"
    commit = run("git", "-C", ROOT, "rev-parse", "--short=12", "HEAD").decode().strip()
    changed = run("git", "-C", ROOT, "status", "--porcelain", "--untracked-files=no", "src", "Cargo.lock", "Cargo.toml")
    programs = [
        "nginx " + first(r"nginx/(\S+)", version("nginx", "-v")),
        "HAProxy " + first(r"version (\S+)", version("haproxy", "-v")),
        "Envoy " + first(r"version: \w+/([\d.]+)", version(setting.programs["envoy"], "--version")),
        "wrk " + first(r"wrk (\S+)", version("wrk", "-v")),
        "h2load " + first(r"nghttp2/(\S+)", version("h2load", "--version")),
        first(r"^(rustc \S+)", version("rustc", "--version")),
    ]
    return {
        "commit": commit + (" and changes that are not committed" if changed else ""),
        "CPU": f"{model}, {os.cpu_count()} cores ({virtual}); proxy on core {setting.proxy_core}"
               f" (threads of that core: {shared}), load and upstream on core {setting.load_core}",
        "memory": f"{memory:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "record's disk": f"{disk[0]}, {disk[1]}, {disk[2]}",
        "programs": ", ".join(programs),
        "policy": f"{setting.policies} Cedar policies",
    }
