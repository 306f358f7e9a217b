#!/usr/bin/env bash
# The whole suite on a PostgreSQL that is installed on this machine (Debian's layout), on loopback.
# Run by `bash .ci/run --full`. Without such a PostgreSQL it fails and says so.
set -euo pipefail

programs=$(find /usr/lib/postgresql -maxdepth 2 -name bin -type d 2>/dev/null | sort -V | tail -n 1)
[ -n "$programs" ] || { echo "no PostgreSQL is installed under /usr/lib/postgresql" >&2; exit 1; }
data=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
as_server=()
if [ "$(id -u)" = 0 ]; then  # PostgreSQL does not run as root
    chown postgres "$data"
    as_server=(setpriv --reuid postgres --regid postgres --clear-groups)
fi
run() { "${as_server[@]}" "$programs/$1" "${@:2}"; }
trap 'run pg_ctl -D "$data/cluster" -m immediate -s stop; rm -rf "$data"' EXIT
printf 'secret\n' >"$data/password"
chmod 644 "$data/password"
run initdb -D "$data/cluster" -U postgres -A scram-sha-256 --pwfile="$data/password" >/dev/null
run pg_ctl -D "$data/cluster" -s -w -l "$data/log" \
    -o "-p $port -h 127.0.0.1 -k '' -c max_connections=300 -c fsync=off" start
"$programs/postgres" --version
ASSISTENZA_TEST_DATABASE_URL=postgresql://postgres:secret@127.0.0.1:$port/postgres python -m pytest
