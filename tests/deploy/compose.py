#!/usr/bin/env python3
"""Starts deploy/compose/compose.yaml without a container engine, calls through its load balancer, and looks at Prometheus.

usage: host.py compose.py PROGRAM

Each service is a process with the command, environment, mounts, secrets, user and capabilities of compose.yaml, and a network
address of its own, whose name the others know. What differs: programs come from Debian and not from images, so from other
versions; the upstream is an emulator; tokens are signed by an issuer of this test's own. Grafana is no package of Debian's,
and is left out. Not here: what compose.yaml must look like (`files.py`).
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request

import yaml

import confine

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ACCOUNT = "023e105f4ecef8ad9ca31a8372d0c353"
EMULATOR = "127.0.0.1:8787"
# Seconds for anything to happen.
PATIENCE = 120
NOBODY = 65534
# The user whose files the secrets are, as in compose.yaml.
USER = 1000

# What an image has that compose.yaml does not say: the program before the command, and whose process it is.
ENTRYPOINTS = {"tunnelwarden": ["/usr/local/bin/tunnelwarden"], "prometheus": ["/usr/bin/prometheus"]}
PATHS = ":".join(
    [*sorted(map(str, pathlib.Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)]
    + ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/bin", "/sbin"]
)


def until(what, found):
    end = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError):
            if answer := found():
                return answer
        if time.monotonic() > end:
            sys.exit(f"never: {what}")
        time.sleep(0.2)


def sh(*words, **options):
    return subprocess.run(words, check=True, text=True, stdout=subprocess.PIPE, **options).stdout


class Services:
    """The services of a compose file that run: each in a network of its own, all on one bridge."""

    def __init__(self, folder):
        self.folder = folder
        self.file = yaml.safe_load((folder / "compose.yaml").read_text())
        self.names = list(self.file["services"])
        self.volumes = folder / "volumes"
        self.running = {}
        hosts = ["127.0.0.1 localhost"]
        sh("ip", "link", "add", "compose", "type", "bridge")
        sh("ip", "address", "add", "10.99.0.1/24", "dev", "compose")
        sh("ip", "link", "set", "compose", "up")
        for number, name in enumerate(self.names, 10):
            sh("ip", "netns", "add", name)
            sh("ip", "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            sh("ip", "link", "set", f"v{number}", "master", "compose", "up")
            inside = ["ip", "-n", name]
            sh(*inside, "address", "add", f"10.99.0.{number}/24", "dev", "eth0")
            sh(*inside, "link", "set", "eth0", "up")
            sh(*inside, "link", "set", "lo", "up")
            hosts.append(f"10.99.0.{number} {name}")
        pathlib.Path("/etc/hosts").write_text("\n".join(hosts) + "\n")

    def _mounts(self, service):
        """(source, target, read only)"""
        for line in service.get("volumes", []):
            source, target, *mode = line.split(":")
            if source.startswith("."):
                source = (self.folder / source).resolve()
            else:
                source = self.volumes / source
                source.mkdir(parents=True, exist_ok=True)
                source.chmod(0o777)
            yield source, target, mode == ["ro"]
        for name in service.get("secrets", []):
            yield self.folder / self.file["secrets"][name]["file"], f"/run/secrets/{name}", True

    def enter(self, name):
        """In the process that becomes the service, or one of its commands."""
        service = self.file["services"][name]
        confine.own_network(name)
        confine.own_mounts()
        # Mount points for what an image would have as folders.
        pathlib.Path("/run/secrets").mkdir(exist_ok=True)
        confine.mount("-t", "tmpfs", "tmpfs", "/run/secrets")
        for source, target, locked in self._mounts(service):
            target = pathlib.Path(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                target.mkdir(exist_ok=True)
            else:
                target.touch()
            confine.mount("--bind", source, target)
            if locked:
                confine.read_only(str(target), False, True)
        if service.get("read_only"):
            kept = [str(target) for _, target, locked in self._mounts(service) if not locked]
            confine.read_only("/", True, True)
            for target in kept:
                confine.read_only(target, False, False)
        if service.get("cap_drop") == ["ALL"]:
            confine.no_capabilities()
        user = service.get("user")
        assert user in (None, "${TUNNELWARDEN_USER:-1000:1000}"), user
        number = USER if user else NOBODY
        confine.become(number, number)
        if "no-new-privileges:true" in service.get("security_opt", []):
            confine.no_new_privileges()
        os.chdir("/")

    def _enter_or_tell(self, name):
        try:
            self.enter(name)
        except Exception:
            traceback.print_exc()
            raise

    def environment(self, name):
        given = self.file["services"][name].get("environment", {})
        return {"PATH": PATHS, "LANG": "C.UTF-8", **given, **DIFFERENT.get(name, {})}

    def spawn(self, name, words, **more):
        """Starts a command where the service is."""
        log = open(self.folder / f"{name}.log", "a")
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**self.environment(name), **more},
            start_new_session=True,
            preexec_fn=lambda: self._enter_or_tell(name),
        )

    def run(self, name, words, **more):
        code = self.spawn(name, words, **more).wait(timeout=PATIENCE)
        if code != 0:
            sys.exit(f"{name}: {words} ended with {code}:\n{self.log(name)}")

    def start(self, name):
        words = list(self.file["services"][name]["command"])
        if name == "database":
            self._first_start_of_database()
        elif name in ("migrate", "tunnelwarden-a", "tunnelwarden-b"):
            words = ENTRYPOINTS["tunnelwarden"] + words
        elif name in ENTRYPOINTS:
            words = ENTRYPOINTS[name] + words
        if name == "migrate":
            return self.run(name, words)
        self.running[name] = self.spawn(name, words)

    def _first_start_of_database(self):
        """What the entry point of the image does: makes the database, runs the scripts of the folder, then the command."""
        given = self.environment("database")
        data, owner = given["PGDATA"], given["POSTGRES_USER"]
        initdb = ["initdb", *given["POSTGRES_INITDB_ARGS"].split(), f"--username={owner}", f"--pgdata={data}"]
        self.run("database", [*initdb, f"--pwfile={given['POSTGRES_PASSWORD_FILE']}"])
        steps = f"""
            set -eu
            export PGPASSWORD="$(cat "$POSTGRES_PASSWORD_FILE")" PGHOST=/tmp
            pg_ctl --wait --options="-c listen_addresses='' -c unix_socket_directories=/tmp" start
            psql --username "$POSTGRES_USER" --dbname postgres --command "CREATE DATABASE $POSTGRES_DB"
            bash /docker-entrypoint-initdb.d/roles.sh
            pg_ctl --wait stop
            echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
            echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"
            echo "unix_socket_directories = '/tmp'" >> "$PGDATA/postgresql.conf"
        """
        self.run("database", ["bash", "-c", steps])

    def healthy(self, name):
        """Whether the service's own health check is content."""
        kind, *words = self.file["services"][name]["healthcheck"]["test"]
        assert kind == "CMD"
        if words[0] == "/tunnelwarden":
            words = ENTRYPOINTS["tunnelwarden"] + words[1:]
        if self.running[name].poll() is not None:
            sys.exit(f"{name} ended:\n{self.log(name)}")
        return self.spawn(name, words).wait(timeout=PATIENCE) == 0

    def kill(self, name):
        process = self.running.pop(name)
        process.kill()
        process.wait(timeout=PATIENCE)

    def restart(self, name):
        """As `restart: unless-stopped` does, until it is healthy: a replica that was killed has its log again when its lease is
        over, and is refused until then."""
        assert self.file["services"][name]["restart"] == "unless-stopped"

        def one():
            if name not in self.running or self.running[name].poll() is not None:
                self.start(name)
                time.sleep(1)
            return self.running[name].poll() is None and self.healthy(name)

        until(f"{name} is back", one)

    def stop(self, name):
        process = self.running.pop(name)
        # PostgreSQL: fast shutdown, as STOPSIGNAL of its image says.
        process.send_signal(signal.SIGINT if name == "database" else signal.SIGTERM)
        process.wait(timeout=PATIENCE)

    def log(self, name):
        return (self.folder / f"{name}.log").read_text()


# What this test sets otherwise than compose.yaml does.
DIFFERENT = {
    name: {"TUNNELWARDEN__UPSTREAM__BASE_URL": f"http://{EMULATOR}/client/v4"}
    for name in ("tunnelwarden-a", "tunnelwarden-b")
}


def prepare(folder, program):
    """The folder as somebody who follows its comments has it; gives a token."""
    for part in ("compose", "prometheus", "grafana"):
        source = ROOT / "deploy" / part
        if source.is_dir():
            shutil.copytree(source, folder / part)
        else:
            (folder / part).mkdir()
    compose = folder / "compose"
    shutil.copy(program, "/usr/local/bin/tunnelwarden")
    for used in ("secrets", "state"):
        shutil.rmtree(compose / used, ignore_errors=True)
    print(sh("./secrets.sh", cwd=compose))
    config = compose / "config" / "tunnelwarden.toml"
    text, count = re.subn(r'jwks_url = ".*"', 'jwks_file = "jwks.json"', config.read_text())
    assert count == 1
    config.write_text(text)
    issue = ["tunnelwarden", "token", "issue"]
    issuer, jwks = str(folder / "issuer.pem"), str(compose / "config" / "jwks.json")
    sh(*issue, "--new-key", issuer, "--jwks", jwks)
    parties = ["--issuer", "https://idp.example", "--audience", "tunnelwarden"]
    token = sh(*issue, "--key", issuer, *parties, "--subject", "alice", "--role", "viewer").strip()
    secret = compose / "secrets" / "cloudflare-token"
    # A token for the emulator, which makes it where there is none.
    secret.unlink(missing_ok=True)
    return compose, token


def own(compose):
    for part in ("secrets", "state"):
        sh("chown", "-R", f"{USER}:{USER}", compose / part)
    for path in (compose, compose.parent):
        path.chmod(0o755)


def get(url, token=None):
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def main(program):
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as ending:
        compose, token = prepare(pathlib.Path(name), program)
        services = Services(compose)

        def all_stop(failure, *_):
            for left in reversed(list(services.running)):
                services.stop(left)
            if failure:
                for each in services.names:
                    log = compose / f"{each}.log"
                    print(f"== the end of {each}'s log", *log.read_text().splitlines()[-20:], sep="\n") if log.exists() else None

        ending.push(all_stop)
        secret = compose / "secrets" / "cloudflare-token"

        def process(words, ready=None, where=None):
            inside = ["ip", "netns", "exec", where] if where else []
            started = subprocess.Popen([*inside, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            ending.callback(started.wait, timeout=PATIENCE)
            ending.callback(started.terminate)

        emulator = [program, "emulator", "--address", "10.99.0.1:8787", "--seed-tunnels", "2"]
        process([*emulator, "--token-file", str(secret)])
        until("the emulator writes its token", lambda: secret.exists() and secret.read_text().strip())
        # Only a loopback address is taken as an upstream without TLS, so each replica has a way to the emulator at its own.
        relay = compose / "relay.cfg"
        relay.write_text(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n"
            f"listen relay\n  bind {EMULATOR}\n  server emulator 10.99.0.1:8787\n"
        )
        own(compose)
        for replica in ("tunnelwarden-a", "tunnelwarden-b"):
            process(["haproxy", "-f", str(relay)], where=replica)

        services.start("database")
        until("the database is healthy", lambda: services.healthy("database"))

        def as_role(role, secret_of, *words, **options):
            """A command that has the password of a role of the database."""
            password = (compose / "secrets" / secret_of).read_text().strip()
            return sh(*words, env={"PATH": PATHS, "PGPASSWORD": password, "PGSSLMODE": "disable"}, **options)

        def ask(role, secret_of, question):
            address = f"postgres://{role}@database/tunnelwarden"
            return as_role(role, secret_of, "psql", address, "-At", "--set=ON_ERROR_STOP=1", input=question).strip()

        for role, secret_of in (("tunnelwarden", "database-password"), ("analyst", "analyst-password")):
            assert ask(role, secret_of, "SELECT current_user") == role
        services.start("migrate")
        for name in ("tunnelwarden-a", "tunnelwarden-b", "balancer", "prometheus"):
            services.start(name)
        for replica in ("tunnelwarden-a", "tunnelwarden-b"):
            until(f"{replica} is healthy", lambda: services.healthy(replica))

        tunnels = f"http://balancer:8080/client/v4/accounts/{ACCOUNT}/magic/ipsec_tunnels"
        until("the balancer lets calls through", lambda: get(tunnels, token)[0] == 200)

        def answered(replica):
            """How many calls it answered."""
            lines = get(f"http://{replica}:9090/metrics")[1].splitlines()
            return sum(float(line.split()[-1]) for line in lines if line.startswith("tunnelwarden_requests_total"))

        both = ("tunnelwarden-a", "tunnelwarden-b")

        def each_answers():
            status, body = get(tunnels, token)
            assert status == 200 and '"success":true' in body, (status, body)
            return all(answered(replica) for replica in both)

        until("both replicas answer", each_answers)
        assert get(tunnels)[0] == 401
        # Its servers are looked at apart from those of the API, and may be back later.
        until("the balancer lets the console through", lambda: get("http://balancer:9090/livez")[0] == 200)

        def up():
            told = json.loads(get("http://prometheus:9090/api/v1/query?query=up")[1])
            return {row["metric"]["instance"]: row["value"][1] for row in told["data"]["result"]}

        wanted = {*(f"{replica}:9090" for replica in both), "balancer:8404"}
        until("Prometheus sees all", lambda: up() == dict.fromkeys(wanted, "1"))

        def behind_the_balancer(server):
            state = f'haproxy_server_status{{proxy="replicas",server="{server}",state="UP"}} 1'
            return state in get("http://balancer:8404/metrics")[1].splitlines()

        def goes_on_without(server):
            for _ in range(20):
                # Within the quota that the subject has at both together.
                time.sleep(0.1)
                status, body = get(tunnels, token)
                assert status == 200, (status, body)
            until("the balancer sees that it is gone", lambda: not behind_the_balancer(server))

        # One goes in order, as an upgrade does it, and no call fails meanwhile.
        services.stop("tunnelwarden-a")
        goes_on_without("a")
        services.start("tunnelwarden-a")
        # Its counters began anew.
        until("it is behind the balancer again", lambda: behind_the_balancer("a"))
        until("it answers again", lambda: get(tunnels, token)[0] == 200 and answered("tunnelwarden-a"))
        until("Prometheus sees all again", lambda: up() == dict.fromkeys(wanted, "1"))

        # One dies, and no call fails meanwhile or when it comes back.
        services.kill("tunnelwarden-b")
        goes_on_without("b")
        services.restart("tunnelwarden-b")
        until("it is behind the balancer again", lambda: behind_the_balancer("b"))
        until("it answers again", lambda: get(tunnels, token)[0] == 200 and answered("tunnelwarden-b"))

        # The database's password is another, and what is connected has to come again: with the file's new text.
        file = compose / "secrets" / "database-password"
        changed = sh("openssl", "rand", "-hex", "24").strip()
        ask("tunnelwarden_owner", "owner-password", f"ALTER ROLE tunnelwarden PASSWORD '{changed}'")
        file.write_text(f"{changed}\n")
        ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'tunnelwarden'"
        assert int(ask("tunnelwarden_owner", "owner-password", ended)) >= 2
        for replica in both:
            until(f"{replica} has the new password", lambda: services.healthy(replica))
            before = answered(replica)
            until(f"{replica} answers", lambda: get(tunnels, token)[0] == 200 and answered(replica) > before)

        # Both logs in one record, verified by who may only read it, with the one public key and what each replica left.
        for replica in both:
            services.stop(replica)
        # As in the configuration: of the network that the parts share nobody else is on the way.
        verify = ["tunnelwarden", "audit", "verify", "--allow-insecure-database"]
        verify += ["--database", "postgres://analyst@database/tunnelwarden?sslmode=disable"]
        verify += ["--public-key", compose / "secrets" / "audit-signing.key.pub"]
        for name in "ab":
            verify += ["--checkpoint", compose / "state" / name / "checkpoint.txt"]
        print(as_role("analyst", "analyst-password", *verify))
        told = json.loads(as_role("analyst", "analyst-password", *verify, "--json"))
        assert {log["log"] for log in told["logs"]} == {"a", "b"}, told
        counted = int(ask("analyst", "analyst-password", "SELECT count(*) FROM tunnelwarden.requests WHERE status = 200"))
        assert counted >= 42, counted
        # The balancer says who called, and the record has that and not the balancer.
        seen = ask("analyst", "analyst-password", "SELECT DISTINCT client_address FROM tunnelwarden.requests")
        assert seen == "10.99.0.1", seen
    print("compose: its parts start and work together, and the record of both replicas is whole")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(os.path.abspath(sys.argv[1]))
