#!/bin/sh
# Installs the Debian packages that Emberbox needs where that is allowed; else prints the one line that does.
# Usage: packages.sh [test|bench]
set -eu

wanted="qemu-system-x86 bubblewrap mmdebstrap e2fsprogs lz4 zstd util-linux ca-certificates"
case "${1:-}" in
test) wanted="$wanted postgresql skopeo docker-registry busybox-static musl-tools gcc libc6-dev" ;;
bench) wanted="$wanted runsc" ;;
esac
if ! command -v apt-get >/dev/null 2>&1; then
    echo "This is no Debian-like system. Emberbox needs: $wanted (or what they are called here)." >&2
    exit 0
fi
case "$(uname -m)" in
aarch64) wanted=$(echo "$wanted" | sed 's/qemu-system-x86/qemu-system-arm/') ;;
esac
if ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
    wanted="$wanted python3-venv"
fi
missing=""
for package in $wanted; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    sudo=""
elif sudo -n true 2>/dev/null; then
    sudo="sudo"
else
    echo "These Debian packages are missing. Install them, then run this again:" >&2
    echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing" >&2
    exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086  # a list of words on purpose
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
