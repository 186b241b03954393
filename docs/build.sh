#!/bin/sh
# Build the site into docs/_build, or into the folder given: warnings are errors, nothing is fetched.
#
#   python -m pip install '.[docs]'
#   sh docs/build.sh
set -eu
cd "$(dirname "$0")"
python -m sphinx --fail-on-warning --keep-going --quiet --fresh-env . "${1:-_build}"
