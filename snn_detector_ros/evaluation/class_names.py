# SPDX-License-Identifier: Apache-2.0
"""
Match the classes of a detector with those of a data set, by name.

Equal names match first, then names that differ in upper and lower case or are known to mean the
same (:data:`SYNONYMS`), then what the user declares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.errors import ConfigurationError

#: Names of Pascal VOC, and what COCO calls the same things.
SYNONYMS = {
    'aeroplane': 'airplane',
    'motorbike': 'motorcycle',
    'diningtable': 'dining table',
    'pottedplant': 'potted plant',
    'sofa': 'couch',
    'tvmonitor': 'tv',
}

#: Number of a class that the data set does not know.
UNKNOWN = -1


def match_classes(
    found: Sequence[str], labelled: Sequence[str], aliases: Mapping[str, str] | None = None,
) -> NDArray[np.int64]:
    """
    Return the number in the data set of each class of a detector.

    :param found: names of the detector.
    :param labelled: names of the data set.
    :param aliases: names of the detector, and what the data set calls them; they go first. Several
        classes of the detector may become one.
    :returns: int64 [len(found)], :data:`UNKNOWN` for classes that the data set lacks.
    :raises ConfigurationError: if an alias names no class, or no class matches.
    """
    aliases = aliases or {}
    for name, target in aliases.items():
        if name not in found:
            raise ConfigurationError(f'alias {name}={target}: the model has no class {name!r}, '
                                     f'only {", ".join(found)}')
        if target not in labelled:
            raise ConfigurationError(f'alias {name}={target}: the data has no class {target!r}, '
                                     f'only {", ".join(labelled)}')
    number_of = {_common(name): index for index, name in reversed(list(enumerate(labelled)))}
    number_of |= {name: index for index, name in enumerate(labelled)}
    numbers = [number_of.get(aliases.get(name, name), number_of.get(_common(name), UNKNOWN))
               for name in found]
    if max(numbers, default=UNKNOWN) == UNKNOWN:
        raise ConfigurationError(
            f'the model finds {", ".join(found) or "classes without names"}, the data has '
            f'{", ".join(labelled)}: they have no class in common; declare which are the same '
            'with --alias MODEL_NAME=DATA_NAME')
    return np.array(numbers, np.int64)


def _common(name: str) -> str:
    folded = name.strip().casefold()
    return SYNONYMS.get(folded, folded)
