#!/usr/bin/env bash
# Makes what is missing in secrets/ and state/ beside this file; what is there stays. Needs `tunnelwarden` (or its path as the
# first argument) and openssl.
set -euo pipefail
cd "$(dirname "$0")"
tunnelwarden=${1:-tunnelwarden}
umask 077
mkdir -p secrets state/a state/b
for name in owner-password database-password analyst-password grafana-password; do
  [ -e "secrets/$name" ] || openssl rand -hex 24 >"secrets/$name"
done
# One signing key and one fingerprint key for both replicas. The public half of the first lies beside it: give that to whoever
# verifies.
TUNNELWARDEN__UPSTREAM__TOKEN_FILE=$PWD/secrets/cloudflare-token \
  TUNNELWARDEN__AUDIT__DATABASE=sqlite:unused.db \
  TUNNELWARDEN__AUDIT__SIGNING_KEY_FILE=$PWD/secrets/audit-signing.key \
  TUNNELWARDEN__AUDIT__FINGERPRINT_KEY_FILE=$PWD/secrets/audit-fingerprint.key \
  "$tunnelwarden" keys generate --config config/tunnelwarden.toml
[ -s secrets/cloudflare-token ] || echo "still missing: secrets/cloudflare-token, the real token"
