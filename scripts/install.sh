#!/bin/sh
# Installs Emberbox from this checkout, or brings it forward. Usage: install.sh FOLDER [PYTHON]
# All that comes from the index is held to the hashes in constraints/, the tools that build the package too.
set -eu
cd "$(dirname "$0")/.."
folder="$1"
python="${2:-python3}"
building="$(mktemp -d)"
trap 'rm -rf "$building"' EXIT
trap 'exit 130' INT TERM

# The packages named in constraints/$2.txt, into the environment $1, which is made where it is missing.
provide() {
    [ -x "$1/bin/python" ] || "$python" -m venv "$1"
    "$1/bin/python" -m pip --quiet --disable-pip-version-check install --require-hashes --requirement "constraints/$2.txt"
}

echo "building the package"
provide "$building/tools" build
"$building/tools/bin/python" -m pip --quiet --disable-pip-version-check wheel --no-index --no-deps --no-build-isolation \
    --wheel-dir "$building" .
echo "installing it into $folder"
provide "$folder" wheel
"$folder/bin/python" -m pip --quiet --disable-pip-version-check install --no-index --no-deps --force-reinstall \
    "$building"/emberbox-*.whl
