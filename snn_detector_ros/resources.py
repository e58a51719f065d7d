# SPDX-License-Identifier: Apache-2.0
"""Finds the files that are installed beside the package: models, profiles, layouts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from snn_detector_ros.errors import ConfigurationError

PACKAGE = 'snn_detector_ros'

#: The network that is used where none is named.
DEFAULT_MODEL = 'models/people_vehicles_n.onnx'


def resource(relative: str) -> Path:
    """
    Return the path of an installed file.

    Looked for in the source tree, in each prefix of ``AMENT_PREFIX_PATH`` (a colcon workspace, an
    apt installation), and in Python's own prefix (pip).

    :param relative: path below the package's share folder, such as ``config/detector.yaml``.
    :raises ConfigurationError: naming the places that were searched.
    """
    prefixes = [Path(prefix) for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(':')
                if prefix]
    places = [Path(__file__).resolve().parent.parent,
              *(prefix / 'share' / PACKAGE for prefix in [*prefixes, Path(sys.prefix)])]
    for place in places:
        if (place / relative).exists():
            return place / relative
    raise ConfigurationError(f'`{relative}` is not installed; searched: '
                             f'{", ".join(str(place) for place in places)}')
