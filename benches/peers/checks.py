"""What each candidate must do before it is measured: refuse four bad calls, serve the good ones, swap the token.

A refused call must not reach the upstream; a served one must reach it with the upstream's token and never with the
caller's. Not here: how fast that is (load.py).
"""

import http.client
import itertools
import time

import mixes

# Calls to tunnels whose ids start so are noted by the upstream.
NOTED = "c0ffee"
# One tunnel a call, over all candidates.
NUMBERS = itertools.count(1)
UNKNOWN = (401, 403)


class Checker:
    """Checks one candidate that runs."""

    def __init__(self, setting, candidate):
        self.setting = setting
        self.candidate = candidate
        self.results = []

    def call(self, method, below, token, body=""):
        """The status of a call, and what the upstream noted of it: `real`, `other`, `none`, or nothing."""
        tunnel = f"{NOTED}{next(NUMBERS):026x}"
        connection = http.client.HTTPConnection("127.0.0.1", self.candidate.port, timeout=10)
        headers = {"content-type": "application/json"} if body else {}
        if token:
            headers["authorization"] = f"Bearer {token}"
        connection.request(method, f"{mixes.COLLECTION}/{tunnel}{below}", body or None, headers)
        answer = connection.getresponse()
        self.body = answer.read()
        connection.close()
        # nginx writes its line after the answer is out.
        time.sleep(0.05)
        log = self.setting.dir.joinpath("upstream.log")
        noted = {line.split()[2] for line in log.read_text().splitlines() if tunnel in line} if log.exists() else set()
        return answer.status, noted

    def refuses(self, what, statuses, method, below, token):
        """A call that must be refused without any word to the upstream."""
        status, noted = self.call(method, below, token)
        self.note(f"refuses {what}", status in statuses and not noted, status, noted)

    def serves(self, what, method, below, token, body=""):
        """A call that must be served, with the upstream's token only."""
        status, noted = self.call(method, below, token, body)
        self.note(f"serves {what} with the upstream's token", status == 200 and noted == {"real"}, status, noted)

    def note(self, what, good, status, noted):
        seen = ", ".join(sorted(noted)) or "nothing"
        self.results.append({"check": what, "good": good, "status": status, "upstream_saw": seen})

    def all(self):
        """Every check, in order."""
        setting = self.setting
        viewer, admin = setting.issue("viewer", "viewer-1"), setting.tokens[0]
        if self.candidate.checks:
            head, claims, signature = admin.split(".")
            # In the middle: the last letter of base64 has bits that nobody reads.
            other = "A" if signature[40] != "A" else "B"
            bad = f"{head}.{claims}.{signature[:40]}{other}{signature[41:]}"
            self.refuses("a missing token", UNKNOWN, "GET", "", None)
            self.refuses("a bad signature", UNKNOWN, "GET", "", bad)
            self.refuses("an expired token", UNKNOWN, "GET", "", setting.expired())
            self.refuses("a token for another audience", UNKNOWN, "GET", "", setting.issue("admin", "a", "elsewhere"))
            self.refuses("a viewer's DELETE", (403,), "DELETE", "", viewer)
            self.refuses("a viewer's psk_generate", (403,), "POST", "/psk_generate", viewer)
        self.serves("a viewer's GET", "GET", "", viewer)
        self.size = len(self.body)
        for method, below, body in mixes.WRITES:
            self.serves(f"an admin's {method}{below}", method, below, admin, body)
        return self.results
