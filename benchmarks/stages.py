# SPDX-License-Identifier: Apache-2.0
"""What a frame costs around the network: reading, letterbox, boxes, counting of spikes."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import Contestant, Summary, race
from snn_detector_ros.detection.heads import MembraneDecoder
from snn_detector_ros.detection.letterbox import Letterbox
from snn_detector_ros.detection.postprocess import to_detections
from snn_detector_ros.engines.onnxruntime import OnnxRuntimeEngine
from snn_detector_ros.native import space_to_depth
from snn_detector_ros.network import Convolution, HeadLevel, SpikingNetwork, YoloV5Head
from snn_detector_ros.ros.compressed_images import read_compressed_image
from snn_detector_ros.ros.images import read_image

#: (height, width) of the camera's picture in px.
CAMERA = (720, 1280)
OBJECTS = 10


@dataclass(frozen=True)
class StageCost:
    """
    What one stage costs.

    :param target: most it should cost, ms of processor time; None where there is no target.
    """

    name: str
    time: Summary
    target: float | None = None


def time_stages(
    network: SpikingNetwork, *, size: int, rounds: int, seed: int = 0,
) -> list[StageCost]:
    """
    Time each stage on one thread.

    :param network: a network with a head.
    :param size: side of the network's input in px.
    """
    cv2.setNumThreads(1)
    frame = cv2.resize(np.random.default_rng(seed).integers(
        0, 256, (CAMERA[0] // 8, CAMERA[1] // 8, 3), dtype=np.uint8), CAMERA[::-1])
    letterbox = Letterbox((size, size))
    blocks = np.empty((size // 2, size // 2, 12), dtype=np.uint8)
    decode, sums = MembraneDecoder(network), synthetic_readouts(network, (size, size))
    engine = OnnxRuntimeEngine(network, input_size=(size, size), threads=1)
    engine.run(letterbox(frame))

    def fit() -> None:
        space_to_depth(letterbox(frame), blocks)

    def find_boxes() -> int:
        return len(to_detections(
            decode(sums, 0.25), letterbox.geometry, network.class_names,
            iou_threshold=0.45, max_detections=100))

    yuv, jpeg = _messages(frame)
    camera = f'{CAMERA[1]}x{CAMERA[0]}'
    stages = {
        f'letterbox + space to depth, {camera} to {size}': (fit, 1.2),
        f'decode + suppression, {find_boxes()} detections': (find_boxes, 1.0),
        f'count spikes of {network.name} at {size}': (engine.firing, None),
        f'image message, yuv422 {camera}': (lambda: read_image(yuv), None),
        f'image message, JPEG {camera}': (lambda: read_compressed_image(jpeg), None),
    }
    times = race({name: Contestant(run) for name, (run, _) in stages.items()}, rounds=rounds)
    return [StageCost(name, times[name], target) for name, (_, target) in stages.items()]


def synthetic_readouts(
    network: SpikingNetwork, input_size: tuple[int, int],
) -> dict[str, NDArray[np.int32]]:
    """
    Return readouts that show :data:`OBJECTS` objects, each seen by two cells, and nothing else.

    :returns: for each readout, int32 [h, w, anchors * (5 + classes)] without bias.
    """
    assert isinstance(network.head, YoloV5Head)
    shapes = network.shapes(input_size)
    readouts = {}
    for index, level in enumerate(network.head.levels):
        logits = np.full(shapes[level.readout], -6.0)
        if index == 0:
            _draw_objects(logits, level)
        layer = network[level.readout]
        assert isinstance(layer, Convolution)
        readouts[level.readout] = (logits / layer.step - layer.bias).astype(np.int32)
    return readouts


def _draw_objects(logits: NDArray[np.float64], level: HeadLevel) -> None:
    """Write objects 5 cells apart into the logits [h, w, channels] of one scale."""
    height, width, channels = logits.shape
    cells = logits.reshape(height, width, len(level.anchors), -1)
    for index in range(OBJECTS):
        row, column = height // 2 + 5 * (index * 5 // width), index * 5 % width
        seen_by = cells[row, column:column + 2, 0]
        seen_by[:] = 0  # the size of the anchor, half-way down the cell
        seen_by[:, 0] = (1.73, -0.62)  # 1.2 cells to the right of one is 0.2 right of the next
        seen_by[:, 4:6] = 3


def _messages(frame: NDArray[np.uint8]) -> tuple[SimpleNamespace, SimpleNamespace]:
    """Return the frame as a raw and as a compressed message, without ROS."""
    height, width = frame.shape[:2]
    jpeg = cv2.imencode('.jpg', frame, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    raw = SimpleNamespace(
        height=height, width=width, encoding='yuv422_yuy2', is_bigendian=0, step=2 * width,
        data=np.ascontiguousarray(frame[..., :2]).tobytes())
    return raw, SimpleNamespace(format='bgr8; jpeg compressed bgr8', data=jpeg.tobytes())
