"""Asks Datasette for the views of a record that is being written, and sees that neither side meets a lock.

usage: live.py DATABASE     (DEMO_BASE_URL, DEMO_ACCOUNT and DEMO_TOKEN_OPERATOR say where to call)

Writers call the proxy as fast as it answers while readers ask Datasette for rows and counts of every view. A call that
gets 503 (the record could not be written), an answer of Datasette's that is an error, or views that do not show what was
written in the end, is a failure.
"""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

DATABASE = sys.argv[1]
SECONDS = 8
VIEWS = ["requests", "changes", "psk_events", "refusals", "tunnel_history"]
COLLECTION = f"{os.environ['DEMO_BASE_URL']}/accounts/{os.environ['DEMO_ACCOUNT']}/magic/ipsec_tunnels"

answers = {}
asked = {}
wrong = []


def call(number):
    """One write: a create that the policy permits, or limits refuse, which is recorded all the same."""
    body = {
        "name": f"live-{number}",
        "cloudflare_endpoint": "203.0.113.1",
        "customer_endpoint": "198.51.100.9",
        "interface_address": f"10.{number // 250 % 250}.{number % 250}.0/31",
        "replay_protection": True,
    }
    request = urllib.request.Request(
        COLLECTION,
        data=json.dumps(body).encode(),
        headers={
            "authorization": f"Bearer {os.environ['DEMO_TOKEN_OPERATOR']}",
            "content-type": "application/json",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def write(writer, until):
    number = writer * 100_000
    while time.monotonic() < until:
        number += 1
        status = call(number)
        answers[status] = answers.get(status, 0) + 1
        if status == 503:
            wrong.append("a call got 503: its record could not be written")


def query(address, sql):
    with urllib.request.urlopen(f"{address}/audit.json?{urllib.parse.urlencode({'sql': sql})}", timeout=20) as answer:
        told = json.load(answer)
    if not told.get("ok"):
        raise RuntimeError(told.get("error"))
    return told["rows"]


def read(address, until):
    while time.monotonic() < until:
        for view in VIEWS:
            for sql in [f"SELECT * FROM {view} ORDER BY seq DESC LIMIT 20", f"SELECT count(*) FROM {view}"]:
                try:
                    query(address, sql)
                    asked[view] = asked.get(view, 0) + 1
                except (urllib.error.HTTPError, RuntimeError) as error:
                    detail = error.read().decode()[:300] if isinstance(error, urllib.error.HTTPError) else ""
                    wrong.append(f"Datasette: {view}: {error} {detail}")


def main():
    server = subprocess.Popen(
        [sys.executable, "-m", "datasette", "serve", DATABASE, "--port", "0", "--setting", "num_sql_threads", "4"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = None
        for line in server.stderr:
            if "Uvicorn running on" in line:
                address = line.split("running on ")[1].split(" ")[0].strip()
                break
        assert address, "Datasette did not start"
        threading.Thread(target=lambda: [None for _ in server.stderr], daemon=True).start()
        before = query(address, "SELECT count(*) FROM entries")[0][0]
        until = time.monotonic() + SECONDS
        threads = [threading.Thread(target=write, args=(n, until)) for n in range(4)]
        threads += [threading.Thread(target=read, args=(address, until)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = query(address, "SELECT count(*) FROM entries")[0][0]
        calls = query(address, "SELECT count(*) FROM requests WHERE subject = 'operator@demo'")[0][0]
        # Nobody writes through it.
        try:
            query(address, "DELETE FROM probe")
            wrong.append("Datasette takes a DELETE")
        except (urllib.error.HTTPError, RuntimeError):
            pass
    finally:
        server.terminate()
        server.wait()
    print(f"calls by status {answers}; Datasette answered {asked}; entries {before} -> {after}")
    if wrong:
        sys.exit("\n".join(sorted(set(wrong))[:10]))
    assert sum(answers.values()) >= 50 and sum(asked.values()) >= 50, "too few to tell anything"
    assert calls == sum(answers.values()), f"{calls} of {sum(answers.values())} calls are in the view"


main()
