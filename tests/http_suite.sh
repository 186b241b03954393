#!/bin/sh
# The public conformance suite for HTTP caches, through our Starlette and Flask caches.
#
#   sh tests/http_suite.sh PATH         PATH: a checkout of github.com/http-tests/cache-tests
#   sh tests/http_suite.sh PATH flask   through one of them alone
#
# `python` (or $PYTHON) is one that has twofold[test].
set -eu
cd "$(dirname "$0")/.."

[ $# -ge 1 ] || { echo "usage: sh tests/http_suite.sh PATH [starlette] [flask]" >&2; exit 2; }
command -v node >/dev/null || {
    echo "tests/http_suite.sh needs node, which is not on PATH: the suite is written in JavaScript" >&2
    exit 2
}
[ -f "$1/test-engine/client/runner.mjs" ] || {
    echo "$1 is no checkout of http-tests/cache-tests:" \
        "git clone https://github.com/http-tests/cache-tests" >&2
    exit 2
}
exec "${PYTHON:-python}" -m tests.http_suite "$@"
