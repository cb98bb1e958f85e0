"""The setting of one run: its folder, keys, tokens and ports, and the upstream.

Everything secret is made here at run time and goes with the folder. Not here: the candidates (candidates.py).
"""

import base64
import contextlib
import getpass
import json
import os
import secrets
import shutil
import string
import subprocess
import tempfile
import time
from pathlib import Path

import mixes
from process import Failed, Running, free_port

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ISSUER = "https://idp.example"
AUDIENCE = "tunnelwarden"

# Callers of one team: as many as a cache of tokens holds easily, more than one so that it is looked into.
CALLERS = 16


def encoded(data):
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def run(*command):
    """Runs a command to its end and answers what it printed."""
    done = subprocess.run([str(part) for part in command], capture_output=True)
    if done.returncode != 0:
        raise Failed(f"{command[0]} fails: {(done.stderr + done.stdout).decode(errors='replace')}")
    return done.stdout


class Setting:
    """What all candidates share."""

    def __init__(self, target, programs, cores):
        self.target = Path(target)
        self.load_core, self.proxy_core = cores
        self.programs = {
            "tunnelwarden": self.target / "release/tunnelwarden",
            "envoy": next((self.target / "peers/venv").glob("lib/python*/site-packages/envoy/_bin/envoy")),
            **{name: Path(programs) / name for name in ("peers-bare", "peers-pace")},
        }
        # Below target/, so that the record is on the disk that the sources are on.
        self.dir = Path(tempfile.mkdtemp(prefix="run-", dir=self.target / "peers"))
        try:
            self.prepare()
        except BaseException:
            self.remove()
            raise

    def prepare(self):
        """Makes keys, tokens, certificates and requests."""
        kind = run("findmnt", "-n", "-o", "FSTYPE", "-T", self.dir).decode().strip()
        if kind in ("tmpfs", "ramfs", "overlay"):
            print(f"WARNING: {self.dir} is on {kind}: the record is not on a real disk", flush=True)
        (self.dir / "temp").mkdir()
        program = self.programs["tunnelwarden"]
        run(program, "token", "issue", "--new-key", self.dir / "issuer.pem", "--jwks", self.dir / "jwks.json")
        run("openssl", "pkey", "-in", self.dir / "issuer.pem", "-pubout", "-out", self.dir / "issuer.pub")
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", self.dir / "tls.key", "-out", self.dir / "tls.crt")
        # HAProxy takes both from one file.
        (self.dir / "tls.pem").write_bytes(
            (self.dir / "tls.crt").read_bytes() + (self.dir / "tls.key").read_bytes())
        letters = string.ascii_letters + string.digits
        self.upstream_token = "cfut_" + "".join(secrets.choice(letters) for _ in range(40))
        (self.dir / "upstream-token").write_text(self.upstream_token)
        self.upstream_port = free_port()
        self.tokens = [self.issue("admin", f"admin-{n}") for n in range(CALLERS)]
        self.loads = 0
        policy = (ROOT / "config/policy.cedar").read_text() + (HERE / "config/more.cedar").read_text()
        self.policies = policy.count("\n@id(")
        (self.dir / "policy.cedar").write_text(policy)

    def requests(self, mix):
        """The file of one load's requests."""
        self.loads += 1
        path = self.dir / f"{mix}.requests"
        mixes.save(path, mixes.requests(mix, self.tokens, self.loads))
        return path

    def remove(self):
        """Removes the folder with everything secret in it."""
        shutil.rmtree(self.dir, ignore_errors=True)

    def issue(self, role, subject, audience=AUDIENCE):
        """A token that is good for two hours."""
        told = run(self.programs["tunnelwarden"], "token", "issue", "--key", self.dir / "issuer.pem",
                   "--issuer", ISSUER, "--audience", audience, "--subject", subject, "--team", "network",
                   "--role", role, "--lifetime", "2h")
        return told.decode().strip()

    def expired(self):
        """A token that ended an hour ago, signed as well as any."""
        head, claims, _ = self.issue("admin", "late").split(".")
        claims = json.loads(base64.urlsafe_b64decode(claims + "=="))
        claims["exp"] = int(time.time()) - 3600
        claims["iat"] = claims["exp"] - 3600
        return self.signed(f"{head}.{encoded(json.dumps(claims).encode())}")

    def signed(self, text):
        """ES256 (RFC 7518 section 3.4): both numbers of the signature, 32 bytes each, and not openssl's DER."""
        plain = self.dir / "plain"
        plain.write_text(text)
        der = run("openssl", "dgst", "-sha256", "-sign", self.dir / "issuer.pem", plain)
        numbers, at = b"", 2
        for _ in range(2):
            length = der[at + 1]
            numbers += der[at + 2:at + 2 + length].lstrip(b"\0").rjust(32, b"\0")
            at += 2 + length
        return f"{text}.{encoded(numbers)}"

    def render(self, template, to, **values):
        """A file of config/ with its @NAMES@ filled in."""
        text = (HERE / "config" / template).read_text()
        values = {"DIR": self.dir, "USER": getpass.getuser(), "UPSTREAM_PORT": self.upstream_port,
                  "UPSTREAM_TOKEN": self.upstream_token, **values}
        for name, value in values.items():
            text = text.replace(f"@{name}@", str(value))
        path = self.dir / to
        path.write_text(text)
        return path

    def upstream(self):
        """Starts the upstream, on the core of the load."""
        conf = self.render("upstream.conf", "upstream.conf", BEFORE=mixes.template(mixes.BEFORE),
                           AFTER=mixes.template(mixes.AFTER), PSK=secrets.token_urlsafe(24))
        return Running("upstream", ["nginx", "-p", self.dir, "-c", conf, "-e", self.dir / "upstream.error"],
                       self.load_core, self.dir / "upstream.out", port=self.upstream_port)

    def to_core_of_load(self):
        """Moves the referee itself, and so whatever it starts without saying where."""
        os.sched_setaffinity(0, {self.load_core})

    def take_precedence(self, nice):
        """Puts everything that is measured before whatever else runs here: in a session of its own, since Linux
        weighs sessions against each other first where they are autogroups (sched(7))."""
        with contextlib.suppress(PermissionError):
            os.setsid()
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        group = Path("/proc/self/autogroup")
        if group.exists():
            group.write_text(str(nice))
