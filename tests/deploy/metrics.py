#!/usr/bin/env python3
"""Holds alerts, dashboard and README against what the program exports.

usage: metrics.py PROGRAM

Starts `PROGRAM demo`, plays a good call, a refused one and a change, and reads `/metrics`. Every metric that an alert,
a panel of the dashboard or README's table names must be there, with the labels that it is asked for by, and every one
that is there must have a place on the dashboard and in README's table. So a renamed metric fails here, and not when
somebody needs it. Beside that, Prometheus must be able to read each expression of the dashboard, and each alert must say
what to do: OPERATIONS.md, where there is one, must have the place that it names.

Needs promtool.
"""

import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = sys.argv[1]
PATIENCE = 60

NAME = re.compile(r"\btunnelwarden_[a-z_]+\b")
SELECTOR = re.compile(r"\b(tunnelwarden_[a-z_]+)(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\bby \(([^)]*)\)")

# What Prometheus adds, and not the program.
ADDED = {"job", "instance", "le"}


def environment(folder):
    """What the demo says of itself, once it serves."""
    until = time.monotonic() + PATIENCE
    while not (folder / "demo.env").exists():
        if time.monotonic() > until:
            sys.exit("the demo did not start")
        time.sleep(0.1)
    lines = (folder / "demo.env").read_text().splitlines()
    pairs = (line.removeprefix("export ").split("=", 1) for line in lines if "=" in line)
    return {name: value.strip("'\"") for name, value in pairs}


def call(url, token, method="GET", body=None):
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    data = json.dumps(body).encode() if body else None
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def exported():
    """{metric: its labels} of a demo that has served three calls, by the names that can be asked for."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder) / "demo"
        with open(f"{folder}.out", "w+") as log:
            demo = subprocess.Popen([PROGRAM, "demo", "--dir", str(folder)], stdout=log, stderr=log)
            try:
                env = environment(folder)
                tunnels = f"{env['DEMO_BASE_URL']}/accounts/{env['DEMO_ACCOUNT']}/magic/ipsec_tunnels"
                body = {
                    "name": "site-9",
                    "cloudflare_endpoint": "203.0.113.1",
                    "customer_endpoint": "198.51.100.9",
                    "interface_address": "10.100.9.0/31",
                    "replay_protection": True,
                }
                operator = env["DEMO_TOKEN_OPERATOR"]
                statuses = [
                    call(tunnels, operator),
                    call(tunnels, "nobody"),
                    call(tunnels, operator, "POST", body),
                ]
                assert statuses == [200, 401, 200], statuses
                health = re.search(r"http://\S+(?=/readyz)", pathlib.Path(log.name).read_text()).group()
                with urllib.request.urlopen(f"{health}/metrics", timeout=20) as answer:
                    text = answer.read().decode()
            finally:
                demo.send_signal(signal.SIGINT)
                demo.wait(timeout=PATIENCE)
    labels = {}
    for series in re.findall(r"(?m)^(\w+)(?:\{(.*)\})? \S+$", text):
        name, found = series
        labels.setdefault(name, set()).update(re.findall(r'(?:^|,)(\w+)="', found))
    types = dict(re.findall(r"(?m)^# TYPE (\w+) (\w+)$", text))
    for name, kind in types.items():
        want = {"counter": "_total", "histogram": ""}.get(kind, "")
        assert name.endswith(want), f"{name} is a {kind}"
    return labels, set(types)


def expressions():
    """(where, expression) of each alert, panel and variable."""
    alerts = (ROOT / "deploy/prometheus/alerts.yml").read_text()
    # Without a YAML reader, which Python does not bring along: from `expr:` to the next key of the rule.
    for alert in alerts.split("- alert: ")[1:]:
        name = alert.split("\n", 1)[0]
        yield f"alert {name}", re.search(r"(?s)expr: (.*?)\n +(?:for|labels):", alert).group(1)
    dashboard = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text())
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", variable["query"]["query"]
    for panel in dashboard["panels"]:
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}", panel["title"]
        for target in panel.get("targets", []):
            yield f"panel {panel['title']}", target["expr"]
            yield f"legend of {panel['title']}", legend(target)


def legend(target):
    """A legend's labels, as if they were asked for."""
    named = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
    return f"by ({', '.join(named)}) {target['expr']}"


def unreadable(asked):
    """What promtool says of the dashboard's expressions; nothing where it can read them."""
    values = {"$__rate_interval": "5m", "$job": "tunnelwarden", "$instance": ".*"}
    rules = []
    for where, expression in asked:
        if where.startswith("panel "):
            for variable, value in values.items():
                expression = expression.replace(variable, value)
            rules.append({"record": f"panel:{len(rules)}", "expr": expression})
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        # JSON is YAML.
        json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
        file.flush()
        checked = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True)
    if checked.returncode != 0:
        yield f"the dashboard: {checked.stdout}{checked.stderr}"


def runbooks():
    """Alerts that do not say what to do."""
    page = ROOT / "OPERATIONS.md"
    headings = re.findall(r"(?m)^#+ +(.+)$", page.read_text()) if page.exists() else None
    # As the places of a page's headings are named: small letters, no signs, a dash for each space.
    anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings or []]
    alerts = (ROOT / "deploy/prometheus/alerts.yml").read_text()
    for alert in alerts.split("- alert: ")[1:]:
        name = alert.split("\n", 1)[0]
        anchor = f"alert-{name.lower()}"
        if f"runbook_url: OPERATIONS.md#{anchor}\n" not in alert:
            yield f"alert {name}: its runbook_url is not OPERATIONS.md#{anchor}"
        elif headings is not None and anchor not in anchors:
            yield f"alert {name}: OPERATIONS.md has no place {anchor}"
        for key in ["summary", "description", "severity"]:
            if f" {key}: " not in alert:
                yield f"alert {name}: has no {key}"


def problems(labels, types, asked, table):
    """Everything that does not fit."""
    for where, expression in asked:
        known = set()
        for name, selected in SELECTOR.findall(expression):
            if name not in labels:
                yield f"{where}: there is no metric {name}"
                continue
            known |= labels[name]
            for label in re.findall(r"(\w+) *(?:=~|!~|!=|=)", selected):
                if label not in labels[name] | ADDED:
                    yield f"{where}: {name} has no label {label}"
        for grouped in GROUPING.findall(expression):
            for label in filter(None, re.split(r", *", grouped)):
                if label not in known | ADDED:
                    yield f"{where}: nothing in it has a label {label}"
    shown = " ".join(expression for where, expression in asked if where.startswith("panel "))
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in NAME.findall(shown)}
    yield from (f"no panel shows {name}" for name in sorted(types - shown))
    yield from (f"README's table lacks {name}" for name in sorted(types - table))
    yield from (f"README's table has {name}, which there is not" for name in sorted(table - types))


def main():
    labels, types = exported()
    asked = list(expressions())
    readme = (ROOT / "README.md").read_text()
    rows = (line.split("|")[1] for line in readme.splitlines() if line.startswith("| `tunnelwarden_"))
    table = {name for row in rows for name in NAME.findall(row)}
    found = list(problems(labels, types, asked, table))
    # That it can fail.
    wrong = [
        ("panel x", 'sum by (nobody) (rate(tunnelwarden_requests_total{status="5xx",colour="red"}[5m]))'),
        ("alert y", "tunnelwarden_request_total > 1"),
    ]
    missed = list(problems(labels, types, wrong + asked, table))
    if len(missed) != len(found) + 3:
        found.append(f"what is wrong on purpose was not found: {missed}")
    found += [*unreadable(asked), *runbooks()]
    if found:
        sys.exit("\n".join(found))
    alerts = sum(where.startswith("alert ") for where, _ in asked)
    print(f"{len(types)} metrics, {alerts} alerts and {len(asked) - alerts} other expressions fit together")


main()
