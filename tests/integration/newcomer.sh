#!/bin/bash
# A newcomer's first minutes: fresh minimal Debian 12 and 13, as root and as an ordinary user, by the README's two commands.
# Usage (as root): newcomer.sh FOLDER [SUITE...]      FOLDER keeps the systems between runs (1-2 GB); suites: bookworm trixie
#   STEPS="./run doctor" newcomer.sh ...   runs these commands (one a line) instead of the two
# The mirror, the names of hosts and the certificates are this machine's own. Nothing stays mounted: it is done in a
# mount namespace that ends with this script.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,6s/^# //p' "$0"; exit 2; }
[ "$(id -u)" = 0 ] || { echo "debootstrap and chroot need root" >&2; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd -P); shift
checkout=$(cd "$(dirname "$0")/../.." && pwd -P)
suites=("$@"); [ $# -gt 0 ] || suites=(bookworm trixie)
steps=${STEPS:-$'./run up --for 20 --plain --report .plantedge/report.json\n./run test'}
results=$folder/results.txt

if [ "${NEWCOMER_INSIDE:-}" != yes ]; then
    NEWCOMER_INSIDE=yes exec unshare --mount --pid --fork --kill-child "$0" "$folder" "${suites[@]}"
fi
mount --make-rprivate /

mirror() { # the Debian mirror of this machine's apt
    { cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null || true; } |
        sed -nE 's/^(URIs:|deb( \[[^]]*\])?) +(\S+).*/\3/p' | grep -m 1 'debian/*$'
}

bootstrap() { # SUITE: a minimal system, kept for the next run
    local suite=$1 base=$folder/$1.base
    [ -e "$base/.complete" ] && return
    echo "--- debootstrap $suite"
    rm -rf "$base"
    debootstrap --variant=minbase "$suite" "$base" "$(mirror)" >"$folder/$suite.debootstrap.log"
    touch "$base/.complete"
}

like_this_machine() { # ROOT SUITE: where packages come from and whom to trust, as here
    local root=$1 suite=$2 file
    for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/npmrc /etc/ssl/certs/ca-certificates.crt; do
        [ ! -e "$file" ] || install -D -m 644 "$file" "$root$file"
    done
    cp -r --parents /usr/local/share/ca-certificates "$root"
    cp -r /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
    printf 'deb %s %s main\n' "$(mirror)" "$suite" >"$root/etc/apt/sources.list"
}

enter() { # ROOT USER COMMAND: a login without this machine's environment, but its certificates and proxies
    local root=$1 user=$2 command=$3 keep=() name
    for name in $(compgen -e | grep -iE '^(ssl_cert_(file|dir)|node_extra_ca_certs|pip_cert|pip_index_url|pip_default_timeout|uv_default_index|(https?|no|all)_proxy)$'); do
        keep+=("$name=${!name}")
    done
    env -i "${keep[@]}" PATH="$PATH" TERM=dumb LANG=C.UTF-8 chroot "$root" su "$user" -s /bin/sh -c \
        "export PATH=/usr/local/bin:/usr/bin:/bin\$( [ \$(id -u) != 0 ] || echo :/usr/local/sbin:/usr/sbin:/sbin ); cd ~/plantedge && $command"
}

machine() { # SUITE USER: a fresh system with a clone of this checkout, mounted
    local suite=$1 user=$2 root=$folder/$1.$2 home=/root
    umount -R "$root/proc" "$root/dev" "$root/sys" 2>/dev/null || true
    rm -rf --one-file-system "$root"
    cp -a --reflink=auto "$folder/$suite.base" "$root"
    like_this_machine "$root" "$suite"
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/dev/shm"
    chroot "$root" apt-get -q update >"$folder/$suite.$user.log" 2>&1
    if [ "$user" != root ]; then # what an administrator's installation has: python3, but neither pip nor python3-venv
        chroot "$root" apt-get -q install -y --no-install-recommends python3 >>"$folder/$suite.$user.log" 2>&1
        chroot "$root" useradd --create-home "$user"
        home=/home/$user
    fi
    git clone --quiet --no-local "$checkout" "$root$home/plantedge"
    [ ! -d "$checkout/../shared/data" ] || cp -rL "$checkout/../shared" "$root$home/shared"
    chroot "$root" chown -R "$user:" "$home"
}

outside() { # ROOT SINCE: files that appeared outside the checkout (and the system's own folders of root's apt)
    (cd "$1" && find . -xdev -newer "$2" -type f -not -path './proc/*' -not -path '*/plantedge/*' -not -path './usr/*' \
        -not -path './var/*' -not -path './etc/*' -not -path './tmp/*' -not -path './run/*' | head -5)
}

visit() { # SUITE USER
    local suite=$1 user=$2 root=$folder/$1.$2 log=$folder/$1.$2.log command started code
    machine "$suite" "$user"
    touch "$folder/since"
    while IFS= read -r command; do
        echo "--- $suite $user: $command"
        started=$(date +%s) code=0
        enter "$root" "$user" "$command" </dev/null 2>&1 | tee -a "$log" | tail -n 25 || code=$?
        printf '%-9s %-9s %5s s  exit %-3s %s\n' "$suite" "$user" $(($(date +%s) - started)) "$code" "$command" >>"$results"
    done <<<"$steps"
    local strays; strays=$(outside "$root" "$folder/since")
    [ -z "$strays" ] || printf '%-9s %-9s written outside the checkout: %s\n' "$suite" "$user" "${strays//$'\n'/ }" >>"$results"
    umount -R "$root/proc" "$root/sys" "$root/dev"
}

: >"$results"
for suite in "${suites[@]}"; do
    bootstrap "$suite"
    for user in root newcomer; do visit "$suite" "$user"; done
done
echo
cat "$results"
! grep -qvE ' exit 0 ' "$results"
