#!/bin/sh
# Locks pyproject.toml into requirements/*.txt, with hashes, for all platforms and Python >= 3.11.
# Pins stay as they are unless asked:  ./run lock --upgrade   or   ./run lock --upgrade-package NAME
# Usage: lock.sh UV [uv's options...]
set -eu
cd "$(dirname "$0")/.."
uv=$1; shift

# No address of an index may enter the files: where packages come from is for pip's and uv's own configuration to say.
resolve() {
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
        --no-emit-find-links "$@"
}

head_line() { # FILE [WHY]: generated files say so in line 1
    { printf '# Generated from pyproject.toml by ./run lock; do not edit.\n%s' "${2:+# $2
}"; cat "$1"; } > "$1.new"
    mv "$1.new" "$1"
}

lock() { # NAME, uv's arguments...
    name=$1; shift
    resolve "$@" -o "requirements/$name.txt"
    ! grep -E '://' "requirements/$name.txt" || { echo "an address got into requirements/$name.txt" >&2; exit 1; }
    head_line "requirements/$name.txt" "${why:-}"
    echo "requirements/$name.txt: $(grep -c '==' "requirements/$name.txt") packages"
}

# dev is the union; every other lock is held to its versions, so that all of them fit into one environment.
lock dev pyproject.toml --extra cloud --extra compiler --group dev "$@"
for row in "device pyproject.toml" "cloud pyproject.toml --extra cloud" "build --group build" "page --group page" \
    "amqtt --group amqtt" "uv --group uv"; do
    # shellcheck disable=SC2086  # a row is a name and its words
    lock $row -c requirements/dev.txt "$@"
done

# torch from PyPI drags in gigabytes of CUDA on Linux, and its CPU build stands in an index of its own (or in a local
# file), so its hash can't be locked for both. Everything around it is; torch itself is pinned to one release.
cuda=$(resolve pyproject.toml --extra train -c requirements/dev.txt |
    sed -nE 's/^(torch|triton|cuda-[a-z0-9-]+|nvidia-[a-z0-9-]+)==.*/--no-emit-package \1/p')
why='Without torch and CUDA: then run "pip install --no-deps torch==2.13.0" against an index with CPU builds.'
# shellcheck disable=SC2086
lock train pyproject.toml --extra train -c requirements/dev.txt $cuda "$@"
