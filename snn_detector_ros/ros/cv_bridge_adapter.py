# SPDX-License-Identifier: Apache-2.0
"""
Reading images with cv_bridge, where it is installed and works.

Installed is not enough: a cv_bridge built for another numpy fails when imported, others fail in
some encodings only. Each failure means "not there" for that image; it is shown in the status, never
raised.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snn_detector_ros.ros.images import LAYOUTS, Picture, read_image


class ImageReader:
    """
    Reads `sensor_msgs/Image` by our own table, by cv_bridge, or both.

    :param use_cv_bridge: 'never'; 'auto' for encodings that our table lacks; 'always' for all.
        Where cv_bridge does not work our table is used, in every mode.
    """

    def __init__(self, use_cv_bridge: str = 'auto') -> None:
        self._mode = use_cv_bridge
        self._bridge: Any = None
        self._import_failed = False
        #: How cv_bridge fares, for diagnostics.
        self.status = 'not used'

    def read(self, message: Any) -> Picture:
        """
        Return the pixels of an image message.

        :raises UnreadableImageError: if neither way can read it.
        """
        asked = self._mode == 'always' or (
            self._mode == 'auto' and message.encoding not in LAYOUTS)
        if asked and not self._import_failed:
            picture = self._read_with_bridge(message)
            if picture is not None:
                return picture
        return read_image(message)

    def _read_with_bridge(self, message: Any) -> Picture | None:
        # Failures have many types: ImportError, AttributeError, TypeError, cv2.error, its own.
        try:
            self._bridge = self._bridge or _import_bridge()
        except Exception as error:
            self._import_failed = True
            self.status = f'absent ({error})'
            return None
        try:
            pixels = np.asarray(self._bridge.imgmsg_to_cv2(message, 'bgr8'), np.uint8)
        except Exception as error:
            self.status = f'failed for `{message.encoding}` ({type(error).__name__}: {error})'
            return None
        self.status = 'used'
        return Picture(pixels, 'bgr')


def _import_bridge() -> Any:
    from cv_bridge import CvBridge
    return CvBridge()
