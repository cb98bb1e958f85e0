#!/usr/bin/env python3
"""Holds each event on standard input, one a line, against the schema of OCSF 1.8.0 API Activity.

usage: tunnelwarden audit export --format ocsf ... | tests/ocsf/validate.py

The schema beside this is the one that https://schema.ocsf.io/1.8.0 publishes for the class (Apache-2.0), without blanks.
Needs the package jsonschema.
"""

import collections
import json
import pathlib
import sys

import jsonschema

SCHEMA = pathlib.Path(__file__).with_name("api-activity-1.8.0.schema.json")


def main():
    schema = json.loads(SCHEMA.read_text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    kinds, wrong = collections.Counter(), 0
    for number, line in enumerate(sys.stdin, 1):
        event = json.loads(line)
        kinds[event["metadata"]["event_code"], event["activity_name"]] += 1
        for error in validator.iter_errors(event):
            wrong += 1
            print(f"event {number}: {error.json_path}: {error.message}", file=sys.stderr)
    for (kind, activity), count in sorted(kinds.items()):
        print(f"{count:6} {kind} {activity}")
    if not kinds:
        sys.exit("no event came")
    if wrong:
        sys.exit(f"{wrong} faults")
    print(f"{sum(kinds.values())} events are valid")


main()
