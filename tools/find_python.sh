#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Print the Python to use: $PYTHON if it is set, else python3, else the newest python3.X on PATH;
# in each case one that ROS 2's wheels exist for.

set -euo pipefail

usable() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}; do
    if usable "$candidate"; then
        command -v "$candidate"
        exit
    fi
done
echo "setup: ROS 2's PyPI wheels need Python 3.10, 3.11, 3.12 or 3.13, but" \
    "${PYTHON:-python3} is: $("${PYTHON:-python3}" --version 2>/dev/null || echo 'not found')." \
    "Install one (apt-get install python3 python3-venv python3-dev)" \
    "or name one: make setup PYTHON=/path/to/python3.12" >&2
exit 1
