# SPDX-License-Identifier: Apache-2.0
"""The float ancestor of a spiking detector, run the same way, to compare with."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from snn_detector_ros.conversion.detect_head import Anchors
from snn_detector_ros.conversion.onnx_reader import OnnxNetwork, read_onnx_file, with_readouts
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
    :param scale_xy: of YOLOv4 heads, see :func:`~snn_detector_ros.conversion.read_onnx`.
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
        scale_xy: float = 1.0,
    ) -> None:
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.max_detections = max_detections
        path = Path(model)
        session = _open(path, threads)
        known = tuple(class_names or _class_names(path, session))
        if head == 'auto' and not anchors and _is_decoded(session, len(known)):
            self.class_names = known
            self.input_size = _input_size(path, session.get_inputs()[0].shape, input_size)
            self._find = _from_rows(session, picture or PictureFormat())
        else:
            try:
                source = read_onnx_file(
                    path, input_size=input_size, anchors=anchors, class_names=class_names,
                    head=head, picture=picture, scale_xy=scale_xy)
            except ConversionError as error:
                reason = '' if head != 'auto' else (
                    f'output of shape {session.get_outputs()[0].shape} for {len(known)} class '
                    'names is no decoded YOLOv5 export, and the file cannot be read like a '
                    'network to convert: ')
                raise ModelFileError(f'{path}: {reason}{error}') from error
            self.class_names = source.network.class_names
            self.input_size = source.network.input_size
            self._find = _from_readouts(
                source, _open(path, threads, with_readouts(path, source)), path)
        self._letterbox = Letterbox(self.input_size)

    def __call__(self, image: NDArray[np.uint8], *, colour: str = 'bgr') -> Detections:
        """Return the detections of a picture; see :class:`Letterbox` for what it may be."""
        candidates = self._find(self._letterbox(image, colour=colour), self.score_threshold)
        return to_detections(
            candidates, self._letterbox.geometry, self.class_names,
            iou_threshold=self.iou_threshold, max_detections=self.max_detections)


def _from_rows(session: onnxruntime.InferenceSession, picture: PictureFormat) -> _Find:
    """Return the detector of a network that decodes its boxes itself."""
    name = session.get_inputs()[0].name

    def find(pixels: NDArray[np.uint8], score_threshold: float) -> Candidates:
        rows = session.run(None, {name: picture.blob(pixels)})[0][0]
        return decode_rows(rows, score_threshold)

    return find


def _from_readouts(
    source: OnnxNetwork, session: onnxruntime.InferenceSession, path: Path,
) -> _Find:
    """Return the detector of a network whose readouts are decoded here."""
    network, name = source.network, session.get_inputs()[0].name
    decode = DECODERS.get(type(network.head))
    if decode is None:
        raise ModelFileError(f'{path}: how its outputs become boxes is unknown; name the kind of '
                             'its head (--head), or export decoded boxes')
    axes = (0, 2, 3, 1) if source.has_channels_last else (0, 1, 2, 3)

    def find(pixels: NDArray[np.uint8], score_threshold: float) -> Candidates:
        blob = np.ascontiguousarray(source.picture.blob(pixels).transpose(axes))
        blob = np.repeat(blob, source.batch, axis=0)
        values = session.run(list(source.tensors.values()), {name: blob})
        maps = FloatMaps({readout: np.moveaxis(value[0], 0, -1)
                          for readout, value in zip(source.tensors, values, strict=True)})
        return decode(network.head, maps, network.input_size, score_threshold)

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


def _is_decoded(session: onnxruntime.InferenceSession, classes: int) -> bool:
    """Return whether a network decodes its boxes itself, as YOLOv5 exports do."""
    shape = session.get_outputs()[0].shape
    return classes > 0 and len(shape) == 3 and shape[-1] == BOX_CHANNELS + classes


def _input_size(
    model: Path, shape: list[int | str], wanted: tuple[int, int] | None,
) -> tuple[int, int]:
    """Return the size that the file fixes, or the wanted one where it leaves it free."""
    match shape:
        case [_, 3, int(height), int(width)] if wanted in (None, (height, width)):
            return height, width
        case [_, 3, str() | None, str() | None] if wanted is not None:
            return wanted
    raise ModelFileError(f'{model}: input of shape {shape}'
                         + (f' cannot take {wanted[0]}x{wanted[1]} px' if wanted else '')
                         + '; export it with a fixed [1, 3, H, W]')


def _class_names(model: Path, session: onnxruntime.InferenceSession) -> tuple[str, ...]:
    """Return the class names; YOLOv5 writes a Python list, or a mapping from 0 on."""
    metadata = session.get_modelmeta().custom_metadata_map
    try:
        names = ast.literal_eval(metadata.get('names', '[]'))
        return tuple(str(names[index]) for index in range(len(names)))
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise ModelFileError(f'{model}: metadata `names` is no list of class names') from error
