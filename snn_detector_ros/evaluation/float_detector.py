# SPDX-License-Identifier: Apache-2.0
"""The float ancestor of a spiking detector, run the same way, to compare with."""

from __future__ import annotations

import ast
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from snn_detector_ros.detection.heads import BOX_CHANNELS, decode_rows
from snn_detector_ros.detection.letterbox import Letterbox
from snn_detector_ros.detection.postprocess import to_detections
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.errors import ModelFileError


class FloatDetector:
    """
    A YOLOv5 export in ONNX Runtime, fp32.

    Input: float32 [1, 3, H, W], red-green-blue, 0 to 1. Output: float32 [1, N, 5 + classes],
    decoded (see :func:`~snn_detector_ros.detection.heads.decode_rows`). Letterbox and suppression
    are those of the spiking detector.

    :param model: the ONNX file; class names are read from its metadata, as YOLOv5 writes them.
    :param score_threshold: least score of a detection.
    :param iou_threshold: largest overlap of two detections of one class.
    :param max_detections: most detections in a picture.
    :param threads: threads of ONNX Runtime; 0 takes its default.
    :raises ModelFileError: if the file is no such network.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        score_threshold: float = 0.25,
        iou_threshold: float = 0.45,
        max_detections: int = 100,
        threads: int = 0,
    ) -> None:
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.max_detections = max_detections
        self._session = _open(Path(model), threads)
        self._input = self._session.get_inputs()[0]
        self.input_size = _input_size(Path(model), self._input.shape)
        self.class_names = _class_names(
            Path(model), self._session.get_modelmeta().custom_metadata_map)
        self._letterbox = Letterbox(self.input_size)
        shape = self._session.get_outputs()[0].shape
        if len(shape) != 3 or shape[-1] != BOX_CHANNELS + len(self.class_names):
            raise ModelFileError(
                f'{model}: output of shape {shape} for {len(self.class_names)} class names; '
                'export it with YOLOv5, decoded and without suppression')

    def __call__(self, image: NDArray[np.uint8], *, colour: str = 'bgr') -> Detections:
        """Return the detections of a picture; see :class:`Letterbox` for what it may be."""
        pixels = self._letterbox(image, colour=colour)
        blob = cv2.dnn.blobFromImage(pixels, 1 / 255, swapRB=True)
        rows = self._session.run(None, {self._input.name: blob})[0][0]
        return to_detections(
            decode_rows(rows, self.score_threshold), self._letterbox.geometry, self.class_names,
            iou_threshold=self.iou_threshold, max_detections=self.max_detections)


def _open(model: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(
            model, options, providers=['CPUExecutionProvider'])
    except Exception as error:  # ONNX Runtime has no public base class of its errors
        raise ModelFileError(f'{model}: ONNX Runtime cannot load it: {error}') from error


def _input_size(model: Path, shape: list[int | str]) -> tuple[int, int]:
    match shape:
        case [_, 3, int(height), int(width)]:
            return height, width
    raise ModelFileError(f'{model}: input of shape {shape}; export it with a fixed [1, 3, H, W]')


def _class_names(model: Path, metadata: dict[str, str]) -> tuple[str, ...]:
    """Return the class names; YOLOv5 writes a Python list, or a mapping from 0 on."""
    try:
        names = ast.literal_eval(metadata.get('names', '[]'))
        return tuple(str(names[index]) for index in range(len(names)))
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise ModelFileError(f'{model}: metadata `names` is no list of class names') from error
