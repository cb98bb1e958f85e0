"""Measures all candidates in turn and prints one table. Started by `run`, which says what it needs.

Checks come first: a candidate that lets a bad call through is not measured. Then rounds, A B C ... A B C ..., so that
a machine that slows down does so for all. Not here: what a check is (checks.py), what a load is (load.py).
"""

import argparse
import json
import os
import signal
import sys
from contextlib import ExitStack

import candidates
import disk
import instructions
import machine
import report
from checks import Checker
from load import Load
from process import Failed
from quiet import Quiet, TOLERATED
from setting import Setting


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(prog="benches/peers/run", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="one round of 3 seconds: about three minutes in all")
    parser.add_argument("--rounds", type=int, help="rounds, of which the median counts (3)")
    parser.add_argument("--seconds", type=int, help="seconds of each load (5)")
    parser.add_argument("--mix", choices=["reads", "mixed"], action="append", help="only this mix over HTTP/1.1")
    parser.add_argument("--only", metavar="TEXT", action="append", help="only candidates with this in their name")
    parser.add_argument("--instructions", action="store_true",
                        help="only count the instructions of tunnelwarden's calls (needs valgrind)")
    parser.add_argument("--rate", type=int, default=2000, help="requests a second of the open loop (2000)")
    parser.add_argument("--cores", default="0,1", help="the core of load and upstream, and the proxy's (0,1)")
    parser.add_argument("--priority", type=int, default=0, metavar="NICE",
                        help="of everything measured, on a machine that is not yours alone: -15, as root (0)")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (3 if options.quick else 5)
    return options


def say(text):
    """Progress, beside the table."""
    print(text, file=sys.stderr, flush=True)


def check_all(setting, chosen):
    """The checks of all candidates; the first failure ends the run, after all of that candidate are printed."""
    checks, size = {}, 0
    for candidate in chosen:
        with candidate.start():
            checker = Checker(setting, candidate)
            checks[candidate.name] = found = checker.all()
            size = checker.size
        for one in found:
            say(f"{candidate.name}: {one['check']}: {'yes' if one['good'] else 'NO'} ({one['status']})")
        if not all(one["good"] for one in found):
            raise Failed(f"{candidate.name} fails a check")
    return checks, size


def plain_round(setting, candidate, mix, options, quiet):
    """One round over HTTP/1.1: a closed loop, then an open one."""
    with candidate.start() as process:
        load = Load(setting, candidate, process, quiet)
        warm = load.wrk(mix, 1)
        closed = load.measured(lambda: load.wrk(mix, options.seconds))
        opened = load.measured(lambda: load.pace(mix, options.rate, options.seconds))
        rss, pss = process.memory()
    sent = warm["requests"] + closed["requests"] + opened["requests"]
    recorded = candidate.recorded()
    if recorded is not None and recorded < sent:
        raise Failed(f"{candidate.name} answered {sent} calls and has {recorded} entries")
    open_figures = opened["all"] | {"cpu_us": opened["cpu_us"], "reads": opened["reads"], "writes": opened["writes"]}
    return {"closed": closed, "open": open_figures, "memory": {"rss": rss, "pss": pss}}


def secure_round(setting, candidate, seconds, quiet):
    """One round of reads over TLS: closed loops of HTTP/1.1 and of HTTP/2."""
    with candidate.start(tls=True) as process:
        load = Load(setting, candidate, process, quiet)
        load.wrk("reads", 1, tls=True)
        first = load.measured(lambda: load.wrk("reads", seconds, tls=True))
        second = load.measured(lambda: load.h2load(seconds))
        rss, pss = process.memory()
    memory = {"rss": rss, "pss": pss}
    return {"HTTP/1.1 with TLS": {"closed": first}, "HTTP/2 with TLS": {"closed": second, "memory": memory}}


def measure(options, setting, chosen, quiet):
    """All rounds of all mixes: results by mix and candidate."""
    results = {}
    for mix in options.mix or ["reads", "mixed"]:
        for number in range(options.rounds):
            for candidate in chosen:
                found = plain_round(setting, candidate, mix, options, quiet)
                results.setdefault((f"{mix}, HTTP/1.1", candidate.name), []).append(found)
                say(f"{mix}, round {number + 1}, {candidate.name}: {found['closed']['rate']:,.0f} requests/s, "
                    f"{found['closed']['cpu_us']:.1f} us, p99 {found['open']['p99']:,.0f} us")
    for number in range(0 if options.mix else options.rounds):
        for candidate in (one for one in chosen if one.tls):
            for way, found in secure_round(setting, candidate, options.seconds, quiet).items():
                results.setdefault((f"reads, {way}", candidate.name), []).append(found)
                say(f"reads, {way}, round {number + 1}, {candidate.name}: {found['closed']['rate']:,.0f} requests/s, "
                    f"{found['closed']['cpu_us']:.1f} us")
    # Candidates of a way stand together, though they were measured in turn.
    ways = list(dict.fromkeys(way for way, _ in results))
    return dict(sorted(results.items(), key=lambda result: ways.index(result[0][0])))


def main():
    """Runs it all; exits with 1 where a candidate fails."""
    options = arguments()
    cores = [int(core) for core in options.cores.split(",")]
    setting = Setting(os.environ["PEERS_TARGET"], os.environ["PEERS_PROGRAMS"], cores)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        stack.callback(setting.remove)
        setting.to_core_of_load()
        if options.priority:
            setting.take_precedence(options.priority)
        told = machine.describe(setting)
        upstream = stack.enter_context(setting.upstream())
        quiet = Quiet(setting, upstream, 0 if options.priority else 80 * options.rounds)
        if options.instructions:
            print(instructions.table(setting, candidates.Tunnelwarden(setting)))
            return
        chosen = [made(setting) for made in candidates.ALL]
        chosen = [one for one in chosen if not options.only or any(part in one.name for part in options.only)]
        checks, size = check_all(setting, chosen)
        results = measure(options, setting, chosen, quiet)
        ours = next((one for one in chosen if one.name == "tunnelwarden"), None)
        notes = disk.notes(setting, ours, quiet, options) if ours else []
        if quiet.disturbed and not options.priority:
            notes.append(f"in {quiet.disturbed} loads others used more than {TOLERATED:.0%} of a core: "
                         "run it again alone")
        if options.priority:
            told["priority"] = (f"nice {options.priority} for what is measured; others used what it left, which "
                                "shows in latencies")
        text = report.whole(told, checks, results, notes, options, size)
    kept = setting.target / "peers"
    kept.joinpath("result.md").write_text(text)
    raw = {"machine": told, "checks": checks, "rounds": {" / ".join(key): value for key, value in results.items()}}
    kept.joinpath("result.json").write_text(json.dumps(raw, indent=1))
    print(text)
    say(f"kept in {kept}/result.md and result.json")


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(str(failure))
    except KeyboardInterrupt:
        sys.exit("interrupted; what was started has ended")
