# SPDX-License-Identifier: Apache-2.0
"""The detectors of a comparison: float and spiking files, and networks that were just made."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snn_detector_ros.conversion import FloatNetwork, read_onnx
from snn_detector_ros.detection.detector import Detector
from snn_detector_ros.errors import ConversionError
from snn_detector_ros.evaluation.float_detector import FloatDetector
from snn_detector_ros.evaluation.runner import DETECTOR_OPTIONS, Detect
from snn_detector_ros.network import SpikingNetwork
from snn_detector_ros.network.model_file import AnyNetwork, is_spiking, load, save


@dataclass(frozen=True, eq=False)
class Contestant:
    """
    One detector of a comparison.

    :param name: short and unique; heads its rows, lines and files.
    :param open: makes the detector when its turn comes, so that only one is in memory.
    :param network: its spiking network; None for a float detector.
    :param float_network: what a float detector computes, if the converter can read it.
    :param family: spiking networks of one family differ in their time steps alone; they are one
        line in a plot of accuracy against time steps.
    """

    name: str
    open: Callable[[], Detect]
    network: AnyNetwork | None = None
    float_network: FloatNetwork | None = None
    family: str = ''


def from_file(
    path: Path, *, engine: str = 'auto', threads: int = 0,
    reading: Mapping[str, Any] | None = None,
) -> Contestant:
    """
    Return the contestant of a model file, float or spiking.

    :param engine: engine of a spiking network.
    :param threads: threads of the engine; 0 takes its default.
    :param reading: what the file of a float network does not say: keyword arguments of
        :func:`~snn_detector_ros.conversion.read_onnx`.
    :raises ModelFileError: if the file cannot be read.
    """
    reading = reading or {}
    if is_spiking(path):
        return Contestant(
            path.stem, lambda: _detector(path, engine, threads), load(path), family=path.stem)
    return Contestant(
        path.stem, lambda: FloatDetector(path, threads=threads, **reading, **DETECTOR_OPTIONS),
        float_network=_readable(path, reading))


def from_network(
    network: SpikingNetwork, name: str, *, family: str = '', engine: str = 'auto',
    threads: int = 0,
) -> Contestant:
    """
    Return the contestant of a network in memory; it runs as it would from its file.

    :param name: name of the contestant.
    :param family: see :class:`Contestant`; the name if empty.
    """
    def make() -> Detect:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'network.onnx'
            save(network, path)
            return _detector(path, engine, threads)

    return Contestant(name, make, network, family=family or name)


def unique(contestants: list[Contestant]) -> list[Contestant]:
    """Return contestants with a number behind each name that occurred before."""
    seen: dict[str, int] = {}
    result = []
    for one in contestants:
        seen[one.name] = count = seen.get(one.name, 0) + 1
        name = one.name if count == 1 else f'{one.name} ({count})'
        result.append(Contestant(name, one.open, one.network, one.float_network, one.family))
    return result


def _detector(path: Path, engine: str, threads: int) -> Detector:
    return Detector(path, engine=engine, threads=threads, **DETECTOR_OPTIONS)


def _readable(path: Path, reading: Mapping[str, Any]) -> FloatNetwork | None:
    """Return the layers of a float detector; None if the converter cannot read them."""
    try:
        return read_onnx(path, **reading)
    except ConversionError:
        return None
