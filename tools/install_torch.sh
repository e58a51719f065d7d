#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Install torch's CPU build for training and its tests, or say why not.
#
# PyPI's torch for Linux is a CUDA build that needs gigabytes of NVIDIA libraries, which nothing
# here uses. So ask pip first what it would install. If that is the CUDA build, ask PyTorch's own
# index; if there is no CPU build either, the tests of training are skipped.

set -euo pipefail
readonly PYTHON="${VENV:-.venv}/bin/python"
readonly PIP=("$PYTHON" -m pip install -c requirements/ros.txt -r requirements/train.txt)
readonly CPU_INDEX=--extra-index-url=https://download.pytorch.org/whl/cpu

if "$PYTHON" -c 'import torch' 2>/dev/null; then
    exit
fi

is_cpu_build() {
    "${PIP[@]}" "$@" --dry-run --quiet --report - 2>/dev/null | grep -q '"version": "[^"]*+cpu"'
}

echo 'asking pip which build of torch it would install'
if is_cpu_build; then
    "${PIP[@]}"
elif is_cpu_build "$CPU_INDEX"; then
    "${PIP[@]}" "$CPU_INDEX"
else
    echo "no CPU build of $(grep ^torch requirements/train.txt) for this Python: tests of training" \
        "will be skipped. To run them: $PYTHON -m pip install -r requirements/train.txt"
fi
