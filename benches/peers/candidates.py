"""The candidates: how each is configured and started.

Each start is a process anew, alone on its core; config/ has its configuration. Not here: how it is measured.
"""

import sqlite3

from process import Running, free_port
from setting import run

ENVOY_CACHE = "\n                  jwt_cache_config: { jwt_cache_size: 1000 }"
ENVOY_TLS = """
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates:
            - certificate_chain: { filename: @DIR@/tls.crt }
              private_key: { filename: @DIR@/tls.key }"""


class Candidate:
    """One proxy that is measured."""

    name = ""
    # Whether it looks at the caller's token and role.
    checks = True
    tls = True

    def __init__(self, setting):
        self.setting = setting

    def command(self, port, tls):
        """Writes the configuration and answers the command line."""
        raise NotImplementedError

    def start(self, tls=False, around=()):
        """A new process; `around` is a program that starts it, with its arguments."""
        self.port = free_port()
        log = self.setting.dir / f"{self.name.replace(' ', '-')}.out"
        command = [*around, *self.command(self.port, tls)]
        return Running(self.name, command, self.setting.proxy_core, log, self.port)

    def recorded(self):
        """Entries of its durable record, for those that have one."""
        return None


class Nginx(Candidate):
    name = "nginx, no checks"
    checks = False

    def command(self, port, tls):
        conf = self.setting.render("nginx.conf", "nginx.conf", PORT=port, TLS="ssl http2" if tls else "")
        return ["nginx", "-p", self.setting.dir, "-c", conf, "-e", self.setting.dir / "nginx.error"]


class Bare(Candidate):
    name = "bare hyper, no checks"
    checks = False
    tls = False

    def command(self, port, tls):
        setting = self.setting
        return [setting.programs["peers-bare"], f"127.0.0.1:{port}", f"127.0.0.1:{setting.upstream_port}",
                setting.dir / "upstream-token"]


class Haproxy(Candidate):
    name = "HAProxy"

    def command(self, port, tls):
        secure = f"ssl crt {self.setting.dir}/tls.pem alpn h2,http/1.1" if tls else ""
        return ["haproxy", "-db", "-f", self.setting.render("haproxy.cfg", "haproxy.cfg", PORT=port, TLS=secure)]


class Envoy(Candidate):
    name = "Envoy, JWT cache"
    cache = ENVOY_CACHE

    def command(self, port, tls):
        secure = ENVOY_TLS.replace("@DIR@", str(self.setting.dir)) if tls else ""
        conf = self.setting.render("envoy.yaml", "envoy.yaml", PORT=port, TLS=secure, JWT_CACHE=self.cache)
        return [self.setting.programs["envoy"], "-c", conf, "--concurrency", "1", "--disable-hot-restart",
                "--log-level", "warning"]


class EnvoyUncached(Envoy):
    name = "Envoy, no JWT cache"
    cache = ""
    tls = False


class Tunnelwarden(Candidate):
    name = "tunnelwarden"

    def __init__(self, setting):
        super().__init__(setting)
        self.starts = 0

    def command(self, port, tls):
        setting = self.setting
        # A record of its own for each start, so that no round pays for the one before.
        if self.starts:
            for old in [*setting.dir.glob(f"audit-{self.starts}.db*"), setting.dir / "checkpoint.txt"]:
                old.unlink(missing_ok=True)
        self.starts += 1
        self.database = setting.dir / f"audit-{self.starts}.db"
        self.admin_port = free_port()
        files = f'certificate_file = "{setting.dir}/tls.crt"\nprivate_key_file = "{setting.dir}/tls.key"'
        conf = setting.render("tunnelwarden.toml", "tunnelwarden.toml", PORT=port, ADMIN_PORT=self.admin_port,
                              DATABASE=self.database, TLS=files if tls else "")
        program = setting.programs["tunnelwarden"]
        run(program, "keys", "generate", "--config", conf)
        return [program, "serve", "--config", conf]

    def recorded(self):
        with sqlite3.connect(self.database) as record:
            return record.execute("SELECT max(seq) + 1 FROM entries").fetchone()[0]


ALL = [Nginx, Bare, Haproxy, Envoy, EnvoyUncached, Tunnelwarden]
