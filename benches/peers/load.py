"""Load on a running candidate, and what it costs: closed loops by wrk and h2load, an open loop by peers-pace.

All of it runs on the core that the candidate is not on. Not here: in which order (referee.py).
"""

import json
import re

import mixes
from process import Failed
from setting import HERE, run

CONNECTIONS = 32


class Load:
    """Loads one process of a candidate."""

    def __init__(self, setting, candidate, process, quiet):
        self.setting = setting
        self.quiet = quiet
        self.candidate = candidate
        self.process = process
        self.address = f"127.0.0.1:{candidate.port}"

    def measured(self, load):
        """Carries a load out, and adds the CPU time of the candidate for it."""
        return self.quiet.load(self.process, lambda: self.counted(load))

    def counted(self, load):
        """The same, once."""
        before = self.process.cpu()
        result = load()
        used = self.process.cpu() - before
        result["busy"] = used / result["seconds"]
        result["cpu_us"] = used * 1e6 / result["requests"]
        result["per_core_second"] = result["requests"] / used
        return result

    def wrk(self, mix, seconds, tls=False):
        """A closed loop over HTTP/1.1."""
        scheme = "https" if tls else "http"
        told = run("wrk", "--threads", "1", "--connections", CONNECTIONS, "--duration", f"{seconds}s",
                   "--script", HERE / "config/mix.lua", f"{scheme}://{self.address}/", "--",
                   self.setting.requests(mix)).decode()
        result = json.loads(re.search(r"^RESULT (.*)$", told, re.MULTILINE)[1])
        self.must_be_whole(result["refused"] + result["broken"], told)
        result["rate"] = result["requests"] / result["seconds"]
        return result

    def h2load(self, seconds):
        """A closed loop over HTTP/2 with TLS: reads of one caller, one stream at a time on each connection."""
        told = run("h2load", "--threads", "1", "--clients", CONNECTIONS, "--max-concurrent-streams", "1",
                   "--duration", seconds, "--header", f"authorization: Bearer {self.setting.tokens[0]}",
                   f"https://{self.address}{mixes.COLLECTION}/{0x10000:032x}").decode()
        rate = float(re.search(r"finished in .*?, ([\d.]+) req/s", told)[1])
        good, other = re.search(r"status codes: (\d+) 2xx, (.*)", told).groups()
        failed = sum(int(n) for n in re.findall(r"(\d+) (?:failed|errored|timeout)", told))
        failed += sum(int(n) for n in re.findall(r"(\d+) [345]xx", other))
        self.must_be_whole(failed, told)
        if "Application protocol: h2" not in told:
            raise Failed(f"{self.candidate.name} does not speak HTTP/2:\n{told}")
        return {"requests": int(good), "seconds": float(seconds), "rate": rate}

    def pace(self, mix, rate, seconds):
        """An open loop of `rate` requests a second over HTTP/1.1: latencies in microseconds from when each was due."""
        told = run(self.setting.programs["peers-pace"], self.address, self.setting.requests(mix), rate, seconds,
                   CONNECTIONS).decode()
        result = json.loads(told)
        self.must_be_whole(result["errors"], told)
        return result | {"requests": rate * seconds, "seconds": seconds}

    def must_be_whole(self, errors, told):
        """A load with errors measures something else."""
        if errors:
            raise Failed(f"{self.candidate.name}: {errors} calls failed:\n{told}\n{self.process.told()}")
