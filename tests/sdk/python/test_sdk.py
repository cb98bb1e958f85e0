"""The official Python SDK, unchanged, through the proxy: only base URL and token are set.

Run by tests/sdk/run, which starts the demo and gives its addresses in the environment.
"""

import datetime
import itertools
import json
import os
import unittest
import urllib.request

import cloudflare
from cloudflare import Cloudflare
from cloudflare.types import magic_transit as types

ACCOUNT = os.environ["DEMO_ACCOUNT"]
EMULATOR = os.environ["DEMO_EMULATOR"]

# Third bytes of addresses that no other test takes.
THIRDS = itertools.count(20)


def client(role, **options):
    """A client as a user has it: two environment variables and nothing else."""
    os.environ["CLOUDFLARE_BASE_URL"] = os.environ["DEMO_BASE_URL"]
    os.environ["CLOUDFLARE_API_TOKEN"] = os.environ[f"DEMO_TOKEN_{role.upper()}"]
    return Cloudflare(**options)


def tunnels(role, **options):
    return client(role, **options).magic_transit.ipsec_tunnels


def emulator(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{EMULATOR}/{path}", data=data, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read() or b"null")


def effects(operation):
    return emulator("GET", "effects")["counts"].get(operation, 0)


def fields(name, third):
    return {
        "account_id": ACCOUNT,
        "name": name,
        "cloudflare_endpoint": "203.0.113.1",
        "interface_address": f"10.77.{third}.0/31",
    }


class Operations(unittest.TestCase):
    def test_all_eight_with_typed_results(self):
        api = tunnels("admin")
        made = api.create(**fields("py-1", 1), customer_endpoint="198.51.100.7", replay_protection=True)
        self.assertIsInstance(made, types.IPSECTunnelCreateResponse)
        self.assertIsInstance(made.created_on, datetime.datetime)
        self.assertEqual((made.name, made.replay_protection), ("py-1", True))
        other = api.create(**fields("py-2", 2))

        names = {tunnel.name for tunnel in api.list(account_id=ACCOUNT).ipsec_tunnels}
        self.assertLessEqual({"py-1", "py-2"}, names)

        got = api.get(made.id, account_id=ACCOUNT).ipsec_tunnel
        self.assertEqual((got.id, got.customer_endpoint), (made.id, "198.51.100.7"))

        put = api.update(made.id, **fields("py-1", 1), description="changed", replay_protection=True)
        self.assertTrue(put.modified)
        self.assertEqual(put.modified_ipsec_tunnel.description, "changed")

        both = [
            {"id": made.id, "name": "py-1", "cloudflare_endpoint": "203.0.113.1", "interface_address": "10.77.1.0/31"},
            {"id": other.id, "name": "py-2b", "cloudflare_endpoint": "203.0.113.1", "interface_address": "10.77.2.0/31"},
        ]
        bulk = api.bulk_update(account_id=ACCOUNT, body={"ipsec_tunnels": both})
        self.assertTrue(bulk.modified)
        self.assertEqual({tunnel.name for tunnel in bulk.modified_ipsec_tunnels}, {"py-1", "py-2b"})

        minted = api.psk_generate(made.id, account_id=ACCOUNT)
        self.assertEqual(minted.ipsec_tunnel_id, made.id)
        self.assertGreaterEqual(len(minted.psk), 16)
        self.assertIsInstance(minted, types.IPSECTunnelPSKGenerateResponse)
        self.assertIsInstance(minted.psk_metadata.last_generated_on, datetime.datetime)

        key = os.urandom(16).hex()
        set_ = api.psk_set(account_id=ACCOUNT, psks=[{"id": made.id, "psk": key}, {"id": "0" * 32, "psk": key}])
        self.assertEqual(set_.successfully_applied_psks[made.id].psk, key)
        self.assertIn("0" * 32, set_.unapplied_psks)

        for tunnel in (made, other):
            gone = api.delete(tunnel.id, account_id=ACCOUNT)
            self.assertTrue(gone.deleted)
            self.assertEqual(gone.deleted_ipsec_tunnel.id, tunnel.id)
        with self.assertRaises(cloudflare.NotFoundError):
            api.get(made.id, account_id=ACCOUNT)

    def test_validate_only_keeps_nothing(self):
        before = effects("create")
        tunnels("admin").create(**fields("py-dry", 3), extra_query={"validate_only": "true"})
        self.assertEqual(effects("create"), before)


class Refusals(unittest.TestCase):
    def refused(self, error, code, call):
        with self.assertRaises(error) as caught:
            call()
        body = caught.exception.body
        self.assertFalse(body["success"])
        self.assertEqual(body["errors"][0]["code"], code)
        self.assertTrue(caught.exception.response.headers["x-request-id"])
        return body["errors"][0]["message"]

    def test_policy_names_itself(self):
        api = tunnels("viewer")
        self.refused(cloudflare.PermissionDeniedError, 99400, lambda: api.create(**fields("py-no", 4)))
        operator = tunnels("operator")
        self.refused(
            cloudflare.PermissionDeniedError, 99400, lambda: operator.psk_generate("0f" * 16, account_id=ACCOUNT)
        )
        self.refused(cloudflare.PermissionDeniedError, 99400, lambda: operator.delete("0f" * 16, account_id=ACCOUNT))
        self.refused(
            cloudflare.PermissionDeniedError,
            99400,
            lambda: operator.create(**fields("py-no", 4), psk=os.urandom(16).hex()),
        )

    def test_bad_tokens(self):
        api = client("viewer", api_token="not.a.jwt").magic_transit.ipsec_tunnels
        self.refused(cloudflare.AuthenticationError, 99212, lambda: api.list(account_id=ACCOUNT))

    def test_an_email_in_the_environment_is_explained(self):
        os.environ["CLOUDFLARE_EMAIL"] = "someone@example.com"
        try:
            api = tunnels("viewer")
            message = self.refused(cloudflare.AuthenticationError, 99200, lambda: api.list(account_id=ACCOUNT))
            self.assertIn("CLOUDFLARE_EMAIL", message)
        finally:
            del os.environ["CLOUDFLARE_EMAIL"]

    def test_bodies(self):
        api = tunnels("admin")
        self.refused(
            cloudflare.BadRequestError, 99127, lambda: api.create(**fields("py-no", 5), extra_body={"colour": "red"})
        )

    def test_the_upstreams_own_errors_come_through(self):
        api = tunnels("admin")
        bad = fields("py-no", 6) | {"interface_address": "10.77.6.0/24"}
        with self.assertRaises(cloudflare.BadRequestError):
            api.create(**bad)


class OneShots(unittest.TestCase):
    """The SDK repeats a POST by itself; the upstream must see it once, and so must the proxy."""

    def setUp(self):
        self.third = next(THIRDS)
        self.made = tunnels("admin").create(**fields(f"py-{self.third}", self.third))

    def tearDown(self):
        tunnels("admin").delete(self.made.id, account_id=ACCOUNT)

    def once(self, fault, operation, call, status=502):
        before = effects(operation)
        emulator("POST", "faults", {"fault": fault, "operation": operation, "times": 1})
        with self.assertRaises(cloudflare.APIStatusError) as caught:
            call(tunnels("admin", max_retries=5))
        answer = caught.exception.response
        self.assertEqual(answer.status_code, status)
        self.assertEqual(answer.headers["x-should-retry"], "false")
        self.assertEqual(answer.request.headers["x-stainless-retry-count"], "0")
        self.assertEqual(effects(operation), before + 1)

    def test_a_minted_key_whose_answer_is_dropped(self):
        self.once("drop-after", "generate_psk", lambda api: api.psk_generate(self.made.id, account_id=ACCOUNT))

    def test_a_minted_key_whose_answer_is_html(self):
        self.once("html-after", "generate_psk", lambda api: api.psk_generate(self.made.id, account_id=ACCOUNT))

    def test_a_minted_key_whose_answer_never_comes(self):
        self.once("hang-after", "generate_psk", lambda api: api.psk_generate(self.made.id, account_id=ACCOUNT), 504)

    def test_set_keys_whose_answer_is_dropped(self):
        psks = [{"id": self.made.id, "psk": os.urandom(16).hex()}]
        self.once("drop-after", "set_psks", lambda api: api.psk_set(account_id=ACCOUNT, psks=psks))

    def test_a_created_tunnel_whose_answer_is_dropped(self):
        third = next(THIRDS)
        self.once("drop-after", "create", lambda api: api.create(**fields(f"py-lost-{third}", third)))
        for tunnel in tunnels("admin").list(account_id=ACCOUNT).ipsec_tunnels:
            if tunnel.name == f"py-lost-{third}":
                tunnels("admin").delete(tunnel.id, account_id=ACCOUNT)


class Retries(unittest.TestCase):
    """Where a retry does no harm, the SDK makes it and its user sees nothing of the fault."""

    def test_a_read_is_repeated(self):
        emulator("POST", "faults", {"fault": "status=503", "operation": "list", "times": 1})
        answer = client("viewer").magic_transit.ipsec_tunnels.with_raw_response.list(account_id=ACCOUNT)
        self.assertEqual(answer.retries_taken, 1)
        self.assertTrue(answer.parse().ipsec_tunnels)

    def test_an_upstream_that_asks_to_wait_is_waited_for(self):
        emulator("POST", "faults", {"fault": "throttle=1", "operation": "list", "times": 1})
        answer = client("viewer").magic_transit.ipsec_tunnels.with_raw_response.list(account_id=ACCOUNT)
        self.assertEqual(answer.retries_taken, 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
