#!/bin/sh
# The one test command: a fresh virtual environment, the real wheel, every check, every test.
#
#   sh tests/run.sh                     all checks and tests
#   sh tests/run.sh -k keys             arguments go to pytest
#   PYTHON=python3.13 sh tests/run.sh   another interpreter
#   sh tests/run.sh -m heavy            the longer runs
#   sh tests/run.sh -n 2 --cov          branch coverage, which doubles the time
set -eu
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
venv=.venv-test-$version
export PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONPATH VIRTUAL_ENV MYPYPATH PYTHONDONTWRITEBYTECODE || true

step() { printf '\n== %s\n' "$*"; }

step "environment: Python $version"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
bin=$PWD/$venv/bin
PATH=$bin:$PATH
"$bin/python" -m pip install --quiet --upgrade pip build

step "wheel"
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
rm -rf build twofold.egg-info
"$bin/python" -m build --quiet --wheel --outdir "$wheels" .
rm -rf build twofold.egg-info
wheel=$(echo "$wheels"/twofold-*.whl)
"$bin/python" -m pip install --quiet "${wheel}[test]"
"$bin/python" -m pip install --quiet --force-reinstall --no-deps "$wheel"

step "ruff"
"$bin/ruff" check .
"$bin/ruff" format --check .

# Meanwhile pytest compiles what it is to run, which each of its processes would else do itself.
"$bin/python" -m pytest --collect-only --quiet >/dev/null 2>&1 &

step "mypy"
"$bin/mypy" -p twofold
"$bin/mypy" tests/typing

step "pyright"
"$bin/pyright" --pythonpath "$bin/python" tests/typing
"$bin/pyright" --pythonpath "$bin/python" --verifytypes twofold --ignoreexternal

step "programs"
programs="redis-server memcached valgrind"
missing() {
    for program in $programs; do
        command -v "$program" >/dev/null || return 0
    done
    return 1
}
if missing; then
    root=
    [ "$(id -u)" -eq 0 ] || root=sudo
    # shellcheck disable=SC2086
    $root apt-get update && $root apt-get install --yes $programs || true
fi
if missing; then
    echo "The tests need these programs on PATH, and apt-get could not install them: $programs" >&2
    exit 1
fi

step "pytest"
wait
if [ $# -eq 0 ]; then  # half of the time goes by waiting: three processes on two cores
    set -- -n 3 --dist worksteal
fi
"$bin/python" -m pytest "$@"
