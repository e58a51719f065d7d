#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Make the project's own virtual environment, with real ROS 2 in it.
#
# Usage: tools/setup.sh run|test|fuzz|bench
#   run    what the demo needs: ROS 2, the detector's libraries, generated messages, this package
#   test   run + linters, pytest, colcon, and torch's CPU build
#   fuzz   test + a guided fuzzer
#   bench  test + the opponents of the benchmark
#
# Each step leaves a stamp in the environment, keyed on the files that it read, so that a second
# call does nothing.
# VENV (default .venv) and PYTHON (default: found on PATH) may be set.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A sourced ROS 2, or another environment with these wheels, must not leak into this one.
unset PYTHONPATH PYTHONHOME LD_LIBRARY_PATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH VIRTUAL_ENV
unset _ROS_WHEELS_BOOTSTRAP_COMPLETE

readonly GOAL="${1:-}"
VENV="$(realpath -ms "${VENV:-.venv}")"
export VENV PIP_DISABLE_PIP_VERSION_CHECK=1
readonly STAMPS="$VENV/.stamps" CONSTRAINTS=requirements/ros.txt
readonly MESSAGES=(interfaces/vision_msgs interfaces/event_camera_msgs interfaces/dvs_msgs)

say() { printf '==> %s\n' "$*"; }

# once NAME "INPUT FILES" COMMAND...
# Run COMMAND unless it has already succeeded with exactly these files.
once() {
    local name="$1" inputs="$2" key
    shift 2
    # shellcheck disable=SC2086
    key="$(sha256sum $inputs | sha256sum | cut -c1-16)"
    if [[ ! -e "$STAMPS/$name-$key" ]]; then
        say "$name"
        "$@"
        rm -f "$STAMPS/$name"-*
        touch "$STAMPS/$name-$key"
    fi
}

# Constrained, so that no later step replaces a pinned ROS 2 wheel or setuptools.
pip_install() { "$VENV/bin/python" -m pip install --constraint "$CONSTRAINTS" "$@"; }

build_messages() { "$VENV/bin/python" interfaces/build_messages.py "$@" "${MESSAGES[@]}"; }

release_of() {
    "$1" -c 'import platform as p, sys; print(p.machine(), "%d.%d" % sys.version_info[:2])'
}

# An environment that works is kept, whatever Python is first on PATH today, unless PYTHON asks for
# another one.
make_environment() {
    local python="$VENV/bin/python" built
    built="$(cat "$STAMPS/python" 2>/dev/null || true)"
    if [[ -n "${PYTHON:-}" || -z "$built" ]]; then
        python="$(tools/find_python.sh)"
    fi
    if [[ -n "$built" && "$(release_of "$python" 2>/dev/null)" == "$built" ]]; then
        return
    fi
    python="$(tools/find_python.sh)"
    say "virtual environment in $VENV with Python $(release_of "$python") ($python)"
    tools/system_packages.sh "$python"
    "$python" -m venv --clear "$VENV"
    mkdir -p "$STAMPS"
    release_of "$VENV/bin/python" > "$STAMPS/python"
}

# Compiled messages belong to one release of the wheels: new wheels, new messages.
install_ros() {
    pip_install -r requirements/ros.txt
    build_messages --force
}

# pip installs no data files in editable mode: lay links where ROS 2's tools look, as
# colcon build --symlink-install does.
install_package() {
    local share="$VENV/share/snn_detector_ros" programs="$VENV/lib/snn_detector_ros" item
    local packages="$VENV/share/ament_index/resource_index/packages"
    pip_install --quiet --no-deps --no-build-isolation --editable .
    mkdir -p "$share" "$programs" "$packages"
    ln -sfn "$PWD/resource/snn_detector_ros" "$packages"
    for item in package.xml launch config rviz models; do ln -sfn "$PWD/$item" "$share"; done
    for item in detector_node player_node; do ln -sfn "$VENV/bin/$item" "$programs"; done
}

setup_run() {
    once ros requirements/ros.txt install_ros
    once runtime requirements/runtime.txt pip_install -r requirements/runtime.txt
    once messages "$(find "${MESSAGES[@]}" interfaces/*.py -type f)" build_messages
    once media requirements/media.txt pip_install --no-deps -r requirements/media.txt
    once package 'setup.py setup.cfg snn_detector_ros/_native.c snn_detector_ros/_events.c' install_package
}

setup_test() {
    once dev requirements/dev.txt pip_install -r requirements/dev.txt
    once torch requirements/train.txt tools/install_torch.sh
    once gpu requirements/gpu.txt pip_install --no-deps -r requirements/gpu.txt
}

setup_fuzz() {
    once fuzz requirements/fuzz.txt pip_install -r requirements/fuzz.txt
}

setup_bench() {
    once bench requirements/bench.txt pip_install --no-deps -r requirements/bench.txt
}

case "$GOAL" in
    run) steps=(run) ;;
    test) steps=(run test) ;;
    fuzz) steps=(run test fuzz) ;;
    bench) steps=(run test bench) ;;
    *) echo "usage: tools/setup.sh run|test|fuzz|bench" >&2; exit 2 ;;
esac

make_environment
for step in "${steps[@]}"; do "setup_$step"; done
