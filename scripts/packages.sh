#!/bin/sh
# Installs the Debian packages that Emberbox needs where that is allowed, and says so before; else prints the one line that does.
# Who is not root needs numbers of further users as well, to build images: they are given, or asked for, in the same line.
# Usage: packages.sh [test|bench|hosts] [--list]. With --list it prints the names that are needed and does nothing else.
set -eu

count=65536
running="qemu-system-x86 bubblewrap util-linux"
building="mmdebstrap e2fsprogs lz4 zstd ca-certificates debian-archive-keyring"
testing=""
purpose=""
case "${1:-}" in
test) purpose="the tests" testing="postgresql skopeo docker-registry busybox-static musl-tools gcc libc6-dev" ;;
bench) purpose="the bench" testing="runsc" ;;
hosts) testing="mount" ;;
esac
user="$(id -un)"
[ "$(id -u)" = 0 ] || building="$building uidmap"
case "$(uname -m)" in
aarch64) running=$(echo "$running" | sed 's/qemu-system-x86/qemu-system-arm/') ;;
esac
case "$*" in
*--list)
    echo "$running $building $testing"
    exit 0
    ;;
esac
if ! command -v apt-get >/dev/null 2>&1; then
    echo "This is no Debian-like system. Emberbox needs: $running $building $testing (or what they are called here)." >&2
    exit 0
fi
if ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
    building="$building python3-venv"
fi

# The packages of $1 that are missing, each after a blank.
missing() {
    for package in $1; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || printf ' %s' "$package"
    done
}

# Whether the file $1 gives this user enough numbers.
has_range() {
    awk -F: -v name="$user" -v number="$(id -u)" -v count="$count" \
        '($1 == name || $1 == number) && $3 + 0 >= count { found = 1 } END { exit !found }' "$1" 2>/dev/null
}

# The first of $count numbers that nobody has; 790000 to 799999 belong to VMMs.
free_range() {
    cat /etc/subuid /etc/subgid 2>/dev/null | awk -F: -v count="$count" \
        '{ end = $2 + $3; if (end > first) first = end }
         END { if (first < 100000) first = 100000; if (first < 800000 && first + count > 790000) first = 800000; print first }'
}

numbers=""
if [ "$(id -u)" != 0 ]; then
    first="$(free_range)"
    span="$first-$((first + count - 1))"
    has_range /etc/subuid || numbers="$numbers --add-subuids $span"
    has_range /etc/subgid || numbers="$numbers --add-subgids $span"
fi
for_running="$(missing "$running")"
for_building="$(missing "$building")"
for_testing="$(missing "$testing")"
wanted="$for_running$for_building$for_testing"
[ -n "$wanted$numbers" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    sudo=""
elif sudo -n true 2>/dev/null; then
    sudo="sudo"
else
    line=""
    [ -z "$wanted" ] || line="sudo apt-get update && sudo apt-get install -y --no-install-recommends$wanted"
    [ -z "$numbers" ] || line="$line${line:+ && }sudo usermod$numbers $user"
    echo "This is missing on this host. Install it, then run this again:" >&2
    echo "  $line" >&2
    exit 1
fi
if [ -n "$wanted" ]; then
    why=""
    [ -z "$for_running" ] || why="$why,$for_running (to run VMs)"
    [ -z "$for_building" ] || why="$why,$for_building (to build images)"
    [ -z "$for_testing" ] || why="$why,$for_testing (for $purpose)"
    echo "Installing Debian packages on this host:${why#,}"
    export DEBIAN_FRONTEND=noninteractive
    $sudo apt-get update -qq
    # shellcheck disable=SC2086  # a list of words on purpose
    $sudo apt-get install -y -qq --no-install-recommends $wanted >/dev/null
fi
if [ -n "$numbers" ]; then
    echo "Giving $user numbers of further users on this host, to build images: usermod$numbers $user"
    # shellcheck disable=SC2086  # a list of words on purpose
    $sudo usermod $numbers "$user"
fi
