#!/bin/sh
# Makes the virtual environment with Emberbox and its development tools in it. Usage: venv.sh PYTHON FOLDER
# All that comes from the index is held to the hashes in constraints/.
set -eu
python="$1"
folder="$2"
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "Emberbox needs Python 3.11 or newer; $python is older. Set PYTHON=… to a newer one." >&2
    exit 1
fi
[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
pip="$folder/bin/python -m pip --quiet --disable-pip-version-check install"
echo "installing Emberbox and its tools into $folder"
$pip --require-hashes --requirement constraints/dev.txt
$pip --no-index --no-deps --no-build-isolation --editable .
# What an ordinary installation does as well; an environment that forbids writing bytecode would slow every start.
PYTHONDONTWRITEBYTECODE= "$folder/bin/python" -m compileall -q src
