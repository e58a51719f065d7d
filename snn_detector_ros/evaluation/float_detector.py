# SPDX-License-Identifier: Apache-2.0
"""The float ancestor of a spiking detector, run the same way, to compare with."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from snn_detector_ros.conversion.detect_head import Anchors
from snn_detector_ros.conversion.onnx_reader import read_onnx_file, with_readouts
from snn_detector_ros.conversion.picture_format import PictureFormat
from snn_detector_ros.detection.head_decoders import BOX_CHANNELS, DECODERS
from snn_detector_ros.detection.heads import Candidates, decode_rows
from snn_detector_ros.detection.letterbox import Letterbox
from snn_detector_ros.detection.postprocess import to_detections
from snn_detector_ros.detection.readout_maps import FloatMaps
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.errors import ConversionError, ModelFileError

#: Takes pixels uint8 [H, W, 3] blue-green-red and the least score.
_Find: TypeAlias = Callable[[NDArray[np.uint8], float], Candidates]

#: ONNX Runtime warns of every weight that an old exporter lists among the inputs.
_ERRORS_ONLY = 3


class FloatDetector:
    """
    A float network in ONNX Runtime, fp32.

    A YOLOv5 export with decoded output float32 [1, N, 5 + classes] is taken as it is (see
    :func:`~snn_detector_ros.detection.heads.decode_rows`), whatever its activations. Other networks
    are read like the converter does, and their boxes decoded like those of the spiking network.
    Letterbox and suppression are those of the spiking detector.

    :param model: the ONNX file; class names are read from its metadata, as YOLOv5 writes them.
    :param score_threshold: least score of a detection.
    :param iou_threshold: largest overlap of two detections of one class.
    :param max_detections: most detections in a picture.
    :param threads: threads of ONNX Runtime; 0 takes its default.
    :param head: kind of head, see :func:`~snn_detector_ros.conversion.read_onnx`.
    :param picture: how the network takes pictures.
    :param input_size: (height, width) in px, where the file leaves it free.
    :param anchors: of an anchor head.
    :param class_names: names of the classes, instead of those in the file.
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
        head: str = 'auto',
        picture: PictureFormat | None = None,
        input_size: tuple[int, int] | None = None,
        anchors: Anchors | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.max_detections = max_detections
        path = Path(model)
        session = _open(path, threads)
        rows = _decoded_names(path, session) if head == 'auto' and not anchors else None
        if rows is not None:
            self.class_names = rows
            self.input_size = _input_size(path, session.get_inputs()[0].shape)
            self._find = _from_rows(session)
        else:
            try:
                source = read_onnx_file(
                    path, input_size=input_size, anchors=anchors, class_names=class_names,
                    head=head, picture=picture)
            except ConversionError as error:
                names = _class_names(path, session.get_modelmeta().custom_metadata_map)
                raise ModelFileError(
                    f'{path}: output of shape {session.get_outputs()[0].shape} for {len(names)} '
                    'class names is no decoded YOLOv5 export, and the file cannot be read like a '
                    f'network to convert: {error}') from error
            network = source.network
            self.class_names, self.input_size = network.class_names, network.input_size
            decode = DECODERS.get(type(network.head))
            if decode is None:
                raise ModelFileError(f'{path}: how its outputs become boxes is unknown; name the '
                                     'kind of its head (--head), or export decoded boxes')
            session = _open(path, threads, with_readouts(path, source))
            picture_input = session.get_inputs()[0].name
            axes = (0, 2, 3, 1) if source.has_channels_last else (0, 1, 2, 3)

            def find(pixels: NDArray[np.uint8], score_threshold: float) -> Candidates:
                blob = np.ascontiguousarray(source.picture.blob(pixels).transpose(axes))
                blob = np.repeat(blob, source.batch, axis=0)
                values = session.run(list(source.tensors.values()), {picture_input: blob})
                return decode(network.head, FloatMaps({
                    name: np.moveaxis(value[0], 0, -1)
                    for name, value in zip(source.tensors, values, strict=True)}),
                    self.input_size, score_threshold)

            self._find = find
        self._letterbox = Letterbox(self.input_size)

    def __call__(self, image: NDArray[np.uint8], *, colour: str = 'bgr') -> Detections:
        """Return the detections of a picture; see :class:`Letterbox` for what it may be."""
        candidates = self._find(self._letterbox(image, colour=colour), self.score_threshold)
        return to_detections(
            candidates, self._letterbox.geometry, self.class_names,
            iou_threshold=self.iou_threshold, max_detections=self.max_detections)


def _from_rows(session: onnxruntime.InferenceSession) -> _Find:
    """Return the detector of a network that decodes its boxes itself."""
    name = session.get_inputs()[0].name

    def find(pixels: NDArray[np.uint8], score_threshold: float) -> Candidates:
        blob = cv2.dnn.blobFromImage(pixels, 1 / 255, swapRB=True)
        return decode_rows(session.run(None, {name: blob})[0][0], score_threshold)

    return find


def _open(model: Path, threads: int, data: bytes | None = None) -> onnxruntime.InferenceSession:
    """Open a file, or what was made of it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(
            str(model) if data is None else data, options, providers=['CPUExecutionProvider'])
    except Exception as error:  # ONNX Runtime has no public base class of its errors
        raise ModelFileError(f'{model}: ONNX Runtime cannot load it: {error}') from error


def _decoded_names(
    model: Path, session: onnxruntime.InferenceSession,
) -> tuple[str, ...] | None:
    """Return the class names of a decoded YOLOv5 export; None if it is none."""
    names = _class_names(model, session.get_modelmeta().custom_metadata_map)
    shape = session.get_outputs()[0].shape
    is_decoded = len(shape) == 3 and shape[-1] == BOX_CHANNELS + len(names)
    return names if names and is_decoded else None


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
