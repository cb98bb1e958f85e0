"""What is asked and what is answered: the tunnel, the requests of both mixes.

The upstream's answers and the bodies of updates are made from the same tunnel, so that a PUT changes one text and
nothing else. Not here: who sends them (load.py), the upstream itself (config/upstream.conf).
"""

import json

ACCOUNT = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
COLLECTION = f"/client/v4/accounts/{ACCOUNT}/magic/ipsec_tunnels"

# One in ten of `mixed` is a write; 200 writes, each on a tunnel of its own, so that two of one tunnel never meet.
REQUESTS = 2000
READ_TUNNELS = 100

SETTINGS = {
    "cloudflare_endpoint": "203.0.113.1",
    "customer_endpoint": "198.51.100.7",
    "interface_address": "10.213.0.8/31",
    "interface_address6": "2606:54c1:7:0:a9fe:12d2::/127",
    "allow_null_cipher": False,
    "replay_protection": True,
    "automatic_return_routing": False,
    "health_check": {"enabled": True, "rate": "low", "type": "request", "direction": "unidirectional",
                     "target": "198.51.100.7"},
    "bgp": {"customer_asn": 64512, "extra_prefixes": [f"10.{n}.0.0/16" for n in range(40, 56)]},
    "custom_remote_identities": {"fqdn_id": "site-fra-1.4711.ipsec.cloudflare.com"},
}
BEFORE = "Branch office, second uplink; ordered by the network team. Ask the duty officer before changing it."
AFTER = "Branch office, second uplink; moved to the new provider. Ask the duty officer before changing it."


def tunnel(id, description):
    """A tunnel as the upstream answers it: 1.4 KB, with the envelope 1.5 KB."""
    return {
        "id": id, "name": "site-fra-1", "description": description, **SETTINGS,
        "remote_identities": {
            "hex_id": f"{ACCOUNT}_{id}", "fqdn_id": f"{id}.4711.ipsec.cloudflare.com",
            "user_id": f"ipsec@{id}.4711.ipsec.cloudflare.com",
        },
        "bgp_status": {
            "state": "BGP_UP", "bgp_state": "ESTABLISHED", "cf_speaker_ip": "10.213.0.8", "cf_speaker_port": 179,
            "customer_speaker_ip": "10.213.0.9", "customer_speaker_port": 51234, "tcp_established": True,
            "updated_at": "2026-10-01T12:00:00Z",
        },
        "psk_metadata": {"last_generated_on": "2026-09-30T08:15:00Z"},
        "created_on": "2026-01-15T09:30:00Z", "modified_on": "2026-09-30T08:15:00Z",
    }


def template(description):
    """The same as text in nginx's configuration, where `$id` and `$target` stand for what a request says."""
    text = json.dumps(tunnel("$id", description), separators=(",", ":"))
    return text.replace('"target":"198.51.100.7"', '"target":$target')


def update():
    """The body of a PUT, for any tunnel."""
    return json.dumps({"name": "site-fra-1", "description": AFTER, **SETTINGS}, separators=(",", ":"))


def raw(method, path, token, body=""):
    """A request as it goes over the wire with HTTP/1.1."""
    head = f"{method} {path} HTTP/1.1\r\nhost: proxy\r\nauthorization: Bearer {token}\r\nuser-agent: peers/1\r\n"
    if body:
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
    elif method != "GET":
        head += "content-length: 0\r\n"
    return (head + "\r\n" + body).encode()


WRITES = [("PUT", "", update()), ("POST", "/psk_generate", ""), ("DELETE", "", "")]


def requests(mix, tokens, load):
    """All requests of a mix, in their order, spread over the tokens. Each load writes to tunnels of its own: a key that
    was minted for a call which the load before it gave up may not be minted again at once."""
    made = []
    writes = 0x20000 + load * REQUESTS
    for n in range(REQUESTS):
        token = tokens[n % len(tokens)]
        if mix == "mixed" and n % 10 == 9:
            method, below, body = WRITES[n // 10 % len(WRITES)]
            made.append(raw(method, f"{COLLECTION}/{writes + n:032x}{below}", token, body))
        else:
            made.append(raw("GET", f"{COLLECTION}/{0x10000 + n % READ_TUNNELS:032x}", token))
    return made


def save(path, made):
    """Writes requests in the form that pace.rs and mix.lua read."""
    path.write_bytes(b"".join(b"%d\n" % len(one) + one for one in made))
