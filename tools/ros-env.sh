# SPDX-License-Identifier: Apache-2.0
#
# Source this in bash or zsh to use the environment that `make` built: `. tools/ros-env.sh`.
# It activates the virtual environment and sets what sourcing /opt/ros/jazzy/setup.bash would set.

_tools="$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")" && pwd)"
_repository="$(dirname "$_tools")"
if [ ! -f "${VENV:-$_repository/.venv}/bin/activate" ]; then
    echo "ros-env.sh: no environment in ${VENV:-$_repository/.venv}; run 'make setup'" >&2
    return 1
fi

unset PYTHONPATH LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE
. "${VENV:-$_repository/.venv}/bin/activate"
export ROS_DISTRO=jazzy ROS_VERSION=2 ROS_PYTHON_VERSION=3 RMW_IMPLEMENTATION=rmw_fastrtps_cpp
export AMENT_PREFIX_PATH="$VIRTUAL_ENV" CMAKE_PREFIX_PATH="$VIRTUAL_ENV"
export ROS_AUTOMATIC_DISCOVERY_RANGE="${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"
# Jazzy reads the first name, Kilted and later the second.
export FASTRTPS_DEFAULT_PROFILES_FILE="$_repository/config/fastdds_large_images.xml"
export FASTDDS_DEFAULT_PROFILES_FILE="$FASTRTPS_DEFAULT_PROFILES_FILE"
unset _tools _repository
