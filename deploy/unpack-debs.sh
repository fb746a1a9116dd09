#!/bin/sh
# Unpacks Debian packages, and what they need that this system lacks, into a folder: without root, without services.
# Usage: unpack-debs.sh FOLDER PACKAGE...      Their programs are then FOLDER/bin/NAME.
set -eu
folder=$1; shift
for tool in apt-get dpkg-deb; do
    command -v $tool >/dev/null || { echo "this system has no $tool" >&2; exit 1; }
done
mkdir -p "$folder/bin" "$folder/debs"
folder=$(cd "$folder" && pwd -P)
work=$folder/apt
mkdir -p "$work/lists/partial" "$work/archives/partial"

apt() { apt-get -y -q --no-install-recommends -o Debug::NoLocking=1 -o Dir::Cache="$work" -o APT::Sandbox::User= "$@"; }
download() { apt install --download-only "$@"; }

# The system's own package lists may be absent (containers) or too old; a private copy needs no root.
download "$@" || {
    apt update -o Dir::State::Lists="$work/lists"
    download -o Dir::State::Lists="$work/lists" "$@"
}
# apt downloads nothing for a package that is installed already; there is nothing to unpack then.
for deb in "$work"/archives/*.deb; do
    [ -e "$deb" ] || continue
    dpkg-deb -x "$deb" "$folder/debs"
done

# The programs find their libraries by a wrapper, relative to itself: the folder may be moved.
wrap() { # PATH inside debs/
    wrapper=$folder/bin/${1##*/}
    cat >"$wrapper" <<TXT
#!/bin/sh
here=\$(cd "\$(dirname "\$(readlink -f "\$0")")/../debs" && pwd -P)
for lib in "\$here"/usr/lib/*-linux-gnu* "\$here"/usr/lib/*-linux-gnu*/pulseaudio "\$here"/lib/*-linux-gnu*; do
    [ ! -d "\$lib" ] || LD_LIBRARY_PATH=\${LD_LIBRARY_PATH:+\$LD_LIBRARY_PATH:}\$lib
done
export LD_LIBRARY_PATH
[ ! -e "\$here/fonts.conf" ] || export FONTCONFIG_FILE="\$here/fonts.conf"
exec "\$here/$1" "\$@"
TXT
    chmod +x "$wrapper"
}

for package; do # of what was asked for, not of what came along
    for deb in "$work/archives/$package"_*.deb; do
        [ -e "$deb" ] || continue
        dpkg-deb -c "$deb" | sed -nE 's#^[-l].* \./(usr/s?bin/[^ ]+)( -> .*)?$#\1#p' |
            while read -r program; do wrap "$program"; done
    done
done
# Debian's chromium is a script with absolute paths; the program stands elsewhere.
if [ -x "$folder/debs/usr/lib/chromium/chromium" ]; then wrap usr/lib/chromium/chromium; fi
if [ -d "$folder/debs/usr/share/fonts" ]; then
    cat >"$folder/debs/fonts.conf" <<TXT
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir>$folder/debs/usr/share/fonts</dir>
  <cachedir>$folder/fontcache</cachedir>
</fontconfig>
TXT
fi
rm -rf "$work"
