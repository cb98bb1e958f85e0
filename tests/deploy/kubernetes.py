#!/usr/bin/env python3
"""What a schema can't see in the rendered manifests: that names meet, and that the program takes its settings.

usage: host.py kubernetes.py PROGRAM MANIFESTS

The program runs as the pods' `check` and `migrate` would: with their variables, ConfigMap, arguments, and secrets that are root's
and readable by the pod's group, as its user. The database is a PostgreSQL of this host under the name that the manifests give it,
with TLS by a root of its own. Not here: rendering, schemas and rules of others (`run`).
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import yaml

import confine

# Beyond a cluster: nothing answers there.
WARNINGS = {"upstream"}

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# PostgreSQL does not run as root.
NOBODY = 65534
DATABASE_HOST = "db.example"
# Seconds for anything to happen.
PATIENCE = 120


def must(holds, what):
    if not holds:
        sys.exit(f"not so: {what}")


def covers(selector, labels):
    wanted = selector.get("matchLabels", selector)
    return bool(wanted) and wanted.items() <= labels.items()


class Manifests:
    def __init__(self, file):
        self.all = [document for document in yaml.safe_load_all(pathlib.Path(file).read_text()) if document]

    def kind(self, kind):
        return [document for document in self.all if document["kind"] == kind]

    def one(self, kind):
        (found,) = self.kind(kind)
        return found

    def config_map(self, name):
        found = [document for document in self.kind("ConfigMap") if document["metadata"]["name"] == name]
        must(len(found) == 1, f"there is one ConfigMap {name}")
        return found[0]["data"]

    def templates(self):
        yield self.one("StatefulSet")["spec"]["template"]
        yield self.one("CronJob")["spec"]["jobTemplate"]["spec"]["template"]

    def value(self, variable, pod):
        """Of an environment variable."""
        if "value" in variable:
            return variable["value"]
        source = variable["valueFrom"]
        if "fieldRef" in source:
            must(source["fieldRef"]["fieldPath"] == "metadata.name", f"{variable['name']} is the pod's name")
            return pod
        reference = source["configMapKeyRef"]
        data = self.config_map(reference["name"])
        must(reference["key"] in data, f"{reference['name']} has {reference['key']}")
        return data[reference["key"]]

    def environment(self, container, pod):
        values = {}
        for variable in container["env"]:
            value = self.value(variable, pod)
            for name, known in values.items():
                value = value.replace(f"$({name})", known)
            must("$(" not in value, f"{variable['name']} names variables that stand before it: {value}")
            values[variable["name"]] = value
        return values


def names_meet(manifests):
    proxy, migrate = manifests.templates()
    labels = proxy["metadata"]["labels"]
    ports = {port["name"] for port in proxy["spec"]["containers"][0]["ports"]}
    for template in (proxy, migrate):
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        claims = manifests.one("StatefulSet")["spec"]["volumeClaimTemplates"] if template is proxy else []
        volumes |= {claim["metadata"]["name"] for claim in claims}
        for container in template["spec"].get("initContainers", []) + template["spec"]["containers"]:
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            must(mounted == volumes, f"{container['name']} mounts each volume: {mounted} of {volumes}")
    for service in manifests.kind("Service"):
        name = service["metadata"]["name"]
        must(covers(service["spec"]["selector"], labels), f"service {name} finds the proxy")
        must(not covers(service["spec"]["selector"], migrate["metadata"]["labels"]), f"service {name} finds nothing else")
        must({port["targetPort"] for port in service["spec"]["ports"]} <= ports, f"service {name} has ports of the proxy")
    named = {service["metadata"]["name"] for service in manifests.kind("Service")}
    must(manifests.one("StatefulSet")["spec"]["serviceName"] in named, "the replicas' own names have their service")
    must(covers(manifests.one("PodDisruptionBudget")["spec"]["selector"], labels), "the disruption budget finds the proxy")
    for template in (proxy, migrate):
        policies = [
            policy["spec"]
            for policy in manifests.kind("NetworkPolicy")
            if covers(policy["spec"]["podSelector"], template["metadata"]["labels"])
        ]
        for way in ("Ingress", "Egress"):
            closed = any(way in policy["policyTypes"] for policy in policies)
            must(closed, f"{template['metadata']['labels']} is closed for {way} but for what is named")
        opened = {port["port"] for policy in policies for rule in policy.get("egress", []) for port in rule["ports"]}
        must({53, 5432} <= opened, "DNS and the database can be reached")
    container = proxy["spec"]["containers"][0]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        must(container[probe]["httpGet"]["port"] in ports, f"{probe} asks a port that is there")


@contextlib.contextmanager
def database(root, passwords):
    """PostgreSQL under its name, for whoever trusts the root certificate that is written to `root`; a role for each password, the
    first of which owns the database."""
    folder = pathlib.Path("/var/lib/server")
    folder.mkdir()
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    made = ["openssl", "req", "-x509", *new_key, "-subj", "/CN=root", "-keyout", "root.key", "-out", str(root)]
    subprocess.run(made, check=True, cwd=folder, stderr=subprocess.DEVNULL)
    names = ["-subj", f"/CN={DATABASE_HOST}", "-addext", f"subjectAltName=DNS:{DATABASE_HOST}"]
    of_root = ["-CA", str(root), "-CAkey", "root.key", "-addext", "basicConstraints=critical,CA:FALSE"]
    made = ["openssl", "req", "-x509", *new_key, *names, *of_root, "-keyout", "server.key", "-out", "server.crt"]
    subprocess.run(made, check=True, cwd=folder, stderr=subprocess.DEVNULL)
    for path in (folder, *folder.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    with open("/etc/hosts", "a") as hosts:
        hosts.write(f"127.0.0.1 {DATABASE_HOST}\n")
    programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]

    def as_nobody():
        confine.become(NOBODY, NOBODY)

    options = {"cwd": folder, "preexec_fn": as_nobody, "stdout": subprocess.DEVNULL}
    subprocess.run([programs / "initdb", "--auth=trust", "--username=postgres", "data"], check=True, **options)
    rules = "hostssl all postgres 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
    (folder / "data" / "pg_hba.conf").write_text(rules)
    given = {"ssl": "on", "ssl_cert_file": "../server.crt", "ssl_key_file": "../server.key", "unix_socket_directories": ""}
    settings = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
    with subprocess.Popen([programs / "postgres", "-D", "data", *settings], stderr=subprocess.DEVNULL, **options) as server:
        try:
            end = time.monotonic() + PATIENCE
            while subprocess.run([programs / "pg_isready", "--quiet", "--host=127.0.0.1"]).returncode != 0:
                must(server.poll() is None and time.monotonic() < end, "PostgreSQL starts")
                time.sleep(0.1)
            owner = next(iter(passwords))
            made = [f"CREATE ROLE {role} LOGIN PASSWORD '{password}';\n" for role, password in passwords.items()]
            made.append(f"CREATE DATABASE tunnelwarden OWNER {owner};\n")
            psql = ["psql", "--host=127.0.0.1", "--username=postgres", "--quiet", "--set=ON_ERROR_STOP=1"]
            subprocess.run(psql, check=True, input="".join(made), text=True)
            yield
        finally:
            # Whoever is connected is not waited for.
            server.send_signal(signal.SIGINT)


def program_takes_it(manifests, program):
    template, migrate = manifests.templates()
    check, pod = template["spec"]["initContainers"][0], "tunnelwarden-1"
    security = template["spec"]["securityContext"]
    environment = manifests.environment(check, pod)
    serve = template["spec"]["containers"][0]
    must(manifests.environment(serve, pod) == environment, "what is checked is what serves")
    config = next(volume["configMap"]["name"] for volume in template["spec"]["volumes"] if "configMap" in volume)
    folders = {mount["name"]: pathlib.Path(mount["mountPath"]) for mount in check["volumeMounts"]}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    for name, text in manifests.config_map(config).items():
        (folders["config"] / name).write_text(text)
    shipped = (ROOT / "config" / "policy.cedar").read_text()
    must(manifests.config_map(config)["policy.cedar"] == shipped, "the policy is the shipped one")
    os.chown(folders["checkpoint"], 0, security["fsGroup"])
    folders["checkpoint"].chmod(0o2775)
    # Keys of the names that the secrets are to have, made somewhere else.
    made = {
        "PATH": os.environ["PATH"],
        "TUNNELWARDEN__AUDIT__DATABASE": "sqlite:unused.db",
        "TUNNELWARDEN__UPSTREAM__TOKEN_FILE": environment["TUNNELWARDEN__UPSTREAM__TOKEN_FILE"],
    }
    for key in ("SIGNING", "FINGERPRINT"):
        name = f"TUNNELWARDEN__AUDIT__{key}_KEY_FILE"
        made[name] = environment[name]
    command = ["keys", "generate", "--config", str(folders["config"] / "tunnelwarden.toml")]
    subprocess.run([program, *command], check=True, env=made, stdout=subprocess.DEVNULL)
    for name in ("cloudflare-token", "database-password"):
        (folders["secrets"] / name).write_text("no-token-of-anybody-" * 2 + "\n")
    for file in folders["secrets"].iterdir():
        os.chown(file, 0, security["fsGroup"])
        file.chmod(0o440)

    def as_pod():
        confine.no_capabilities()
        confine.become(security["runAsUser"], security["runAsGroup"], [security["fsGroup"]])

    def run(arguments, environment):
        """As one of the pods: what it printed, and whether it succeeded."""
        words = [program, *arguments]
        ended = subprocess.run(words, env=environment, preexec_fn=as_pod, stdout=subprocess.PIPE, text=True)
        return ended.stdout, ended.returncode == 0

    def checked():
        return json.loads(run([*check["args"], "--json"], environment)[0])

    # The root of one's own, as kustomization.yaml says.
    root = folders["config"] / "database-roots.pem"
    environment["TUNNELWARDEN__AUDIT__DATABASE"] += f"?sslrootcert={root}"
    container = migrate["spec"]["containers"][0]
    owner = manifests.environment(container, "migrate")
    owner["OWNER"] += f"?sslrootcert={root}"
    owner_password = pathlib.Path(container["volumeMounts"][0]["mountPath"]) / "password"
    owner_password.parent.mkdir(parents=True, exist_ok=True)
    owner_password.write_text("of-the-owner\n")
    owner_password.chmod(0o440)
    os.chown(owner_password, 0, security["fsGroup"])
    arguments = container["args"]
    for name, value in owner.items():
        arguments = [word.replace(f"$({name})", value) for word in arguments]
    password = (folders["secrets"] / "database-password").read_text().strip()
    roles = {"tunnelwarden_owner": "of-the-owner", owner["WRITER"]: password, owner["READER"]: "of-a-reader"}
    with database(root, roles):
        said = checked()
        wanting = [problem["problem"] for problem in said["problems"] if problem["key"] == "audit.database"]
        must(len(wanting) == len(said["problems"]) == 1 and "migrate" in wanting[0], f"`check` asks for `migrate`: {said}")
        # The second finds all of it there.
        for _ in range(2):
            told, succeeded = run(arguments, owner)
            must(succeeded, f"`migrate` makes the tables: {told}")
        said = checked()
    must(not said["problems"], f"`check` is content: {said['problems']}")
    warnings = {warning["key"].split(".")[0] for warning in said["warnings"]}
    must(warnings <= WARNINGS, f"`check` has nothing to warn of: {said['warnings']}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    given = Manifests(sys.argv[2])
    names_meet(given)
    program_takes_it(given, sys.argv[1])
    print("kubernetes: names meet, and the program takes its settings")
