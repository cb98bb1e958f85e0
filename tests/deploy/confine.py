"""What a process gives up before it becomes a service: writable folders, capabilities, its user. Linux 5.12 or later.

Each function is for a process that was forked for it; none can be undone. Not here: what a unit or a compose file asks for.
"""

import ctypes
import os
import subprocess

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS, _CLONE_NEWNET = 0x20000, 0x40000000
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_SETATTR, _MOUNT_ATTR_RDONLY = 442, 1
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_SET_MDWE = 24, 38, 65


def _must(result, what):
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def mount(*words):
    # Its table of mounts is in a folder that may be read-only already.
    subprocess.run(["mount", "--no-mtab", *words], check=True)


def own_mounts():
    """What is mounted from here on is seen by this process and its children only."""
    _must(_LIBC.unshare(_CLONE_NEWNS), "unshare")
    mount("--make-rprivate", "/")


def own_network(name):
    """The network that `ip netns add` made."""
    network = os.open(f"/run/netns/{name}", os.O_RDONLY)
    _must(_LIBC.setns(network, _CLONE_NEWNET), "setns")
    os.close(network)


class _Attributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user")]


def read_only(path, recursive, yes):
    """mount_setattr(2)"""
    wanted = _Attributes(_MOUNT_ATTR_RDONLY, 0, 0, 0) if yes else _Attributes(0, _MOUNT_ATTR_RDONLY, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    result = _LIBC.syscall(_MOUNT_SETATTR, _AT_FDCWD, path.encode(), flags, ctypes.byref(wanted), 32)
    _must(result, f"mount_setattr {path}")


def no_capabilities():
    for capability in range(64):
        _LIBC.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def become(user, group, groups=()):
    os.setgroups(groups)
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)


def no_new_privileges():
    _must(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def no_writable_code():
    # Older kernels than 6.3 do not know it.
    _LIBC.prctl(_PR_SET_MDWE, 1, 0, 0, 0)
