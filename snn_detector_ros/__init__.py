# SPDX-License-Identifier: Apache-2.0
"""
Real-time object detection with spiking neural networks, for ROS 2 and for Python alone.

>>> from snn_detector_ros import Detector
>>> for detection in Detector()(image_bgr):
...     print(detection.class_name, detection.score, detection.box)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snn_detector_ros.detection.detector import Detector
    from snn_detector_ros.detection.types import Detection, Detections

__version__ = '0.1.0'
__all__ = ['Detection', 'Detections', 'Detector', '__version__']


def __getattr__(name: str) -> Any:
    """Import the public classes on first use, so that `import snn_detector_ros` costs nothing."""
    if name == 'Detector':
        from snn_detector_ros.detection.detector import Detector

        return Detector
    if name in ('Detection', 'Detections'):
        from snn_detector_ros.detection import types

        return getattr(types, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
