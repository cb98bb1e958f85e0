#!/usr/bin/env bash
# The systemd unit starts the demo's configuration: as an unprivileged user, with what the unit gives and nothing else.
#
# usage: host.py systemd.sh PROGRAM
#
# Run by tests/deploy/run. Not tried, for want of a running systemd: what `UNTRIED` in tests/deploy/systemctl lists.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
program=$1

"$program" demo --dir "$HOME/demo" >"$HOME/demo.out" 2>&1 &
demo=$!
trap 'kill -INT "$demo"; wait "$demo"' EXIT
for _ in $(seq 300); do
  [ -f "$HOME/demo/demo.env" ] && break
  kill -0 "$demo" || { cat "$HOME/demo.out"; exit 1; }
  sleep 0.1
done

install -m 755 "$program" /usr/local/bin/tunnelwarden
install -d -m 755 /etc/tunnelwarden
install -d -m 700 /etc/tunnelwarden/secrets
mkdir -p /etc/systemd/system
cp "$root/deploy/systemd/tunnelwarden.service" /etc/systemd/system/
install -m 644 "$HOME/demo/policy.cedar" "$HOME/demo/jwks.json" /etc/tunnelwarden/
install -m 600 "$HOME"/demo/{cloudflare-token,audit-signing.key,audit-fingerprint.key} /etc/tunnelwarden/secrets/
sed -e '/^\[listen\]/,/^$/s|127.0.0.1:0|127.0.0.1:8080|' -e '/^\[admin\]/,/^$/s|127.0.0.1:0|127.0.0.1:9090|' \
  -e 's|sqlite:audit.db|sqlite:/var/lib/tunnelwarden/audit.db|' -e 's|"checkpoint.txt"|"/var/lib/tunnelwarden/checkpoint.txt"|' \
  -e 's|"cloudflare-token"|"/etc/tunnelwarden/secrets/cloudflare-token"|' "$HOME/demo/tunnelwarden.toml" >/etc/tunnelwarden/tunnelwarden.toml
chmod 644 /etc/tunnelwarden/tunnelwarden.toml

failed() {
  echo "not so: $1"
  cat /run/systemctl/tunnelwarden.service.log
  exit 1
}

systemctl start tunnelwarden
curl -fsS --retry 50 --retry-delay 1 --retry-connrefused http://127.0.0.1:9090/readyz >/dev/null || failed "it gets ready"
account=023e105f4ecef8ad9ca31a8372d0c353
call() {
  curl -sS -o /dev/null -w '%{http_code}' -H "authorization: Bearer $(cat "$HOME/demo/$1.token")" \
    "http://127.0.0.1:8080/client/v4/accounts/$account/magic/ipsec_tunnels"
}
[ "$(call viewer)" = 200 ] || failed "a viewer reads"

pid=$(cat /run/systemctl/tunnelwarden.service.pid)
status() { sed -n "s/^$1:[[:space:]]*\([^[:space:]]*\).*/\1/p" "/proc/$pid/status"; }
[ "$(readlink "/proc/$pid/exe")" = /usr/local/bin/tunnelwarden ] || failed "it is the program"
[ "$(status Uid)" -ge 61184 ] || failed "its user is an unprivileged one"
[ "$(status CapPrm)$(status CapEff)$(status CapBnd)$(status CapAmb)" = "$(printf '0%.0s' $(seq 64))" ] || failed "it has no capability"
[ "$(status NoNewPrivs)" = 1 ] || failed "it can get no more rights"
[ "$(status Seccomp)" = 2 ] || failed "its system calls are filtered"
# All that it may write to.
writable=$(awk '$6 ~ /(^|,)rw(,|$)/ {print $5}' "/proc/$pid/mountinfo" | sort | tr '\n' ' ')
[ "$writable" = "/dev /tmp /var/lib/tunnelwarden /var/tmp " ] || failed "it can write to its folder only, not to $writable"
[ -z "$(find /var/lib/tunnelwarden -type f ! -name checkpoint.txt -perm /077)" ] || failed "its record is for nobody else"

systemctl reload tunnelwarden
[ "$(call viewer)" = 200 ] || failed "a reload ends nothing"
echo 'permit (' >>/etc/tunnelwarden/policy.cedar
systemctl reload tunnelwarden >/dev/null 2>&1 && failed "a reload tells that the policy is not good"
cp "$HOME/demo/policy.cedar" /etc/tunnelwarden/
systemctl restart tunnelwarden
curl -fsS --retry 50 --retry-delay 1 --retry-connrefused http://127.0.0.1:9090/readyz >/dev/null || failed "it gets ready again"
systemctl stop tunnelwarden
tunnelwarden audit verify --database /var/lib/tunnelwarden/audit.db --public-key "$HOME/demo/audit-signing.key.pub" \
  --checkpoint /var/lib/tunnelwarden/checkpoint.txt
echo "systemd: the unit starts the demo's configuration"
