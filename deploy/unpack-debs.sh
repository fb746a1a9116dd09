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
rm -rf "$work"

# The programs find their libraries by a wrapper, relative to itself: the folder may be moved.
for program in "$folder"/debs/usr/bin/* "$folder"/debs/usr/sbin/*; do
    [ -x "$program" ] || continue
    wrapper=$folder/bin/${program##*/}
    cat >"$wrapper" <<TXT
#!/bin/sh
here=\$(cd "\$(dirname "\$0")/../debs" && pwd -P)
for lib in "\$here"/usr/lib/*-linux-gnu* "\$here"/lib/*-linux-gnu*; do
    [ ! -d "\$lib" ] || LD_LIBRARY_PATH=\${LD_LIBRARY_PATH:+\$LD_LIBRARY_PATH:}\$lib
done
export LD_LIBRARY_PATH
exec "\$here${program#"$folder/debs"}" "\$@"
TXT
    chmod +x "$wrapper"
done
