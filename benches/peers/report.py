"""The results as one Markdown text.

Not here: how they came about (referee.py).
"""

from statistics import median

COLUMNS = [
    ("requests/s", "closed", "rate", "{:,.0f}"),
    ("CPU us/request", "closed", "cpu_us", "{:.1f}"),
    ("requests per core-second", "closed", "per_core_second", "{:,.0f}"),
    ("core busy", "closed", "busy", "{:.0%}"),
    ("others", "closed", "others", "{:.0%}"),
    ("p50 us", "open", "p50", "{:,.0f}"),
    ("p99 us", "open", "p99", "{:,.0f}"),
    ("p99.9 us", "open", "p999", "{:,.0f}"),
    ("RSS MiB", "memory", "rss", "{:.1f}"),
    ("PSS MiB", "memory", "pss", "{:.1f}"),
]


def row(cells):
    """One line of a table."""
    return "| " + " | ".join(cells) + " |"


def cell(rounds, part, name, form):
    """The median over the rounds; a dash where that was not measured."""
    values = [one[part][name] for one in rounds if part in one and one[part].get(name) is not None]
    return form.format(median(values)) if values else "-"


def main_table(results):
    """One row a candidate and mix, in the order in which they were measured."""
    lines = [row(["mix", "candidate", *(column[0] for column in COLUMNS)])]
    lines.append(row(["---", "---", *["---:"] * len(COLUMNS)]))
    for (mix, name), rounds in results.items():
        bold = f"**{name}**" if name == "tunnelwarden" else name
        lines.append(row([mix, bold, *(cell(rounds, *column[1:]) for column in COLUMNS)]))
    return lines


def classes_table(results, rate):
    """Latencies of reads and of writes in the mix, and what each adds to a proxy that does nothing."""
    mixed = {name: rounds for (mix, name), rounds in results.items() if mix.startswith("mixed")}
    if not mixed:
        return []
    figures = [(kind, at) for kind in ("reads", "writes") for at in ("p50", "p99", "p999")]
    names = [f"{kind} {'p99.9' if at == 'p999' else at} us" for kind, at in figures]
    lines = [row([f"mixed at {rate:,}/s (added to bare hyper)", *names]), row(["---", *["---:"] * len(names)])]
    bare = next((rounds for name, rounds in mixed.items() if name.startswith("bare")), None)
    for name, rounds in mixed.items():
        cells = []
        for kind, at in figures:
            value = median(one["open"][kind][at] for one in rounds)
            added = f" ({value - median(one['open'][kind][at] for one in bare):+,.0f})" if bare else ""
            cells.append(f"{value:,.0f}{added}")
        lines.append(row([name, *cells]))
    return ["", *lines]


def checks_table(checks):
    """What each candidate refused and served: yes, or what was seen instead."""
    names = list(dict.fromkeys(one["check"] for found in checks.values() for one in found))
    lines = [row(["check", *checks]), row(["---", *["---"] * len(checks)])]
    for name in names:
        cells = []
        for found in checks.values():
            one = next((one for one in found if one["check"] == name), None)
            if one is None:
                cells.append("-")
            else:
                cells.append("yes" if one["good"] else f"**NO**: {one['status']}, upstream saw {one['upstream_saw']}")
        lines.append(row([name, *cells]))
    return lines


def whole(machine, checks, results, notes, options, size):
    """The whole text."""
    lines = [f"- {name}: {value}" for name, value in machine.items()]
    lines += [
        f"- rounds: median of {options.rounds}, {options.seconds} s each, candidates in turn; answers of {size} bytes; "
        f"32 connections; latencies at {options.rate:,} requests a second from when each was due",
        "", *checks_table(checks), "", *main_table(results), *classes_table(results, options.rate),
    ]
    if notes:
        lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"
