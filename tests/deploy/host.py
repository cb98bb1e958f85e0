#!/usr/bin/env python3
"""Runs a command on a host of its own, as far as one machine can be two: what it writes to /etc, /run, /srv, /usr/local,
/var/lib and $HOME is gone afterwards, its network is a loopback of its own, and its `systemctl` is the one beside this file.

usage: host.py COMMAND [ARGUMENT...]

So the commands of OPERATIONS.md run as they are written, with their own paths and ports, and change nothing outside.

Needs root, or subordinate user ids (`/etc/subuid`), and Linux 5.12. Not here: what a unit file means (`systemctl`).
"""

import fcntl
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent

# Folders that get a layer in memory.
LAYERED = ["/etc", "/run", "/srv", "/usr/local", "/var/lib"]


def layer(folder, memory):
    upper, work = memory / f"upper{folder.replace('/', '-')}", memory / f"work{folder.replace('/', '-')}"
    upper.mkdir()
    work.mkdir()
    options = f"lowerdir={folder},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, folder], check=True)


def loopback_up():
    """SIOCGIFFLAGS, SIOCSIFFLAGS: as `ip link set lo up`, without needing it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = fcntl.ioctl(any_socket, 0x8913, struct.pack("16sh22x", b"lo", 0))
        flags = struct.unpack("16sh22x", asked)[1]
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", flags | 1))


def inside(memory, command):
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", memory], check=True)
    for folder in LAYERED:
        if os.path.isdir(folder):
            layer(folder, memory)
    home = memory / "home"
    home.mkdir(mode=0o700)
    loopback_up()
    # By this Python, which has what it needs.
    shim = pathlib.Path("/usr/local/bin/systemctl")
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE}/systemctl" "$@"\n')
    shim.chmod(0o755)
    environment = {
        **os.environ,
        "HOME": str(home),
        "PATH": f"/usr/local/bin:{os.environ['PATH']}",
    }
    code = 1
    try:
        code = subprocess.run(command, env=environment).returncode
    finally:
        subprocess.run(["systemctl", "stop", "--all"], env=environment)
    return code


def outside(command):
    enter = ["unshare", "--mount", "--net", "--propagation", "private"]
    if os.geteuid() != 0:
        enter += ["--user", "--map-root-user", "--map-auto"]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    python = [sys.executable, os.path.abspath(__file__)]
    with tempfile.TemporaryDirectory(prefix="host-") as memory:
        environment = {**os.environ, "HOST_MEMORY": memory}
        return subprocess.run([*enter, *python, *command], env=environment).returncode


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    # Set by itself: where the layers are.
    given = os.environ.pop("HOST_MEMORY", None)
    sys.exit(inside(pathlib.Path(given), sys.argv[1:]) if given else outside(sys.argv[1:]))
