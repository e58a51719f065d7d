#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Usage: tools/system_packages.sh PYTHON
# Install by apt what pip cannot bring: compilers, and the venv module and C headers of that Python.

set -euo pipefail
readonly PYTHON="$1"

has_header() {
    "$PYTHON" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")'
}

name="$("$PYTHON" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')"
missing=()
command -v gcc >/dev/null || missing+=(gcc)
command -v g++ >/dev/null || missing+=(g++)
"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || missing+=("$name-venv")
has_header 2>/dev/null || missing+=("$name-dev")
if [[ ${#missing[@]} -eq 0 ]]; then
    exit
fi

echo "==> missing on this machine: ${missing[*]}"
install="apt-get install --yes --no-install-recommends ${missing[*]}"
if [[ $EUID -ne 0 ]]; then
    install="sudo $install"
fi
echo "$install"
if ! command -v ${install%% *} >/dev/null; then
    echo "setup: ${install%% *} is missing too; install these packages as root, then try again" >&2
    exit 1
fi
${install%%install *}update
$install
