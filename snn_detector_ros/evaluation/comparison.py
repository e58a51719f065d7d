# SPDX-License-Identifier: Apache-2.0
"""Evaluate several detectors on the same pictures, and count what each costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from snn_detector_ros.conversion import FloatConvolution
from snn_detector_ros.datasets.labels import LabelledDataset
from snn_detector_ros.detection.detector import Detector
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.engines.statistics import ENERGY_PER_MAC, FiringStatistics, mean_firing
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.evaluation.coco import GroundTruth
from snn_detector_ros.evaluation.contestants import Contestant
from snn_detector_ros.evaluation.runner import (
    EvaluationResult,
    Progress,
    Sightings,
    choose_classes,
    look,
    score,
)


@dataclass(frozen=True)
class Cost:
    """
    What one frame costs, in the mean over the pictures.

    :param spikes: spikes of all neurons; a burst of k counts k.
    :param equation_23: spikes and values of the input picture together: the literal count that
        SUHD (arXiv 2306.12010) calls FLOPs in its eq. 23. It knows no fan-out.
    :param synaptic_operations: accumulates that the spikes cause.
    :param multiply_accumulates: those of the layers that read the picture, or of a float network.
    :param energy_joules: estimated; see :mod:`snn_detector_ros.engines.statistics`.
    """

    spikes: float
    equation_23: float
    synaptic_operations: float
    multiply_accumulates: float
    energy_joules: float


@dataclass(frozen=True, eq=False)
class Outcome:
    """
    How one contestant did.

    :param found: its detections in each picture, of the classes that were looked at, with the
        class numbers of the data set.
    :param firing: what its mean frame fired; None for a float detector.
    """

    contestant: Contestant
    result: EvaluationResult
    found: tuple[Detections, ...]
    firing: FiringStatistics | None

    @property
    def name(self) -> str:
        """Name of the contestant."""
        return self.contestant.name

    @property
    def cost(self) -> Cost | None:
        """What a frame costs; None for a float network that the converter cannot read."""
        network, floats = self.contestant.network, self.contestant.float_network
        if network is not None and self.firing is not None:
            spikes = self.firing.spikes_per_step.sum()
            values = prod(network.input_size) * network.image_channels
            return Cost(float(spikes), float(spikes + values), self.firing.synaptic_operations,
                        self.firing.pixel_operations, self.firing.energy_joules)
        if floats is not None:
            shapes = floats.shapes()
            operations = sum(prod(shapes[layer.name][:2]) * layer.weight.size
                             for layer in floats.layers if isinstance(layer, FloatConvolution))
            return Cost(0, 0, 0, operations, ENERGY_PER_MAC * operations)
        return None

    @property
    def firing_rate(self) -> float:
        """Spikes per neuron and time step in the mean frame; 0 of a float detector."""
        if self.firing is None:
            return 0.0
        neurons = self.firing.neurons_per_layer
        return float(self.firing.rates @ neurons / neurons.sum())

    def as_row(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        network = self.contestant.network
        row: dict[str, Any] = {
            'name': self.name, 'kind': 'float' if network is None else 'spiking',
            **self.result.as_row()}
        if network is not None:
            row |= {'code': str(network.code), 'steps': network.code.steps,
                    'levels': network.code.max_level, 'family': self.contestant.family}
        if self.cost is not None:
            row['cost'] = vars(self.cost)
        if self.firing is not None:
            row['firing_rate'] = self.firing_rate
            row['firing_rate_by_layer'] = self.firing.rate_by_layer
        return row


@dataclass(frozen=True, eq=False)
class Comparison:
    """
    Several detectors on the same pictures.

    :param dataset: the pictures.
    :param truths: their labels in px.
    :param outcomes: one for each contestant, in the order given.
    """

    dataset: LabelledDataset
    truths: tuple[GroundTruth, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def reference(self) -> Outcome:
        """What the others are measured against: the first float detector, else the first."""
        return next((one for one in self.outcomes if one.contestant.network is None),
                    self.outcomes[0])

    @property
    def spiking(self) -> tuple[Outcome, ...]:
        """The outcomes of spiking networks."""
        return tuple(one for one in self.outcomes if one.contestant.network is not None)


def compare(
    contestants: Sequence[Contestant],
    dataset: LabelledDataset,
    *,
    classes: Sequence[str] | None = None,
    aliases: Mapping[str, str] | None = None,
    progress: Callable[[str], Progress] = lambda name: iter,
) -> Comparison:
    """
    Evaluate contestants one after the other.

    :param contestants: at least one, with names of their own.
    :param classes: names of the classes to look at; all if None.
    :param aliases: see :func:`~snn_detector_ros.evaluation.class_names.match_classes`.
    :param progress: makes what shows how far a contestant is, from its name.
    :raises ConfigurationError: if there is no contestant or a name occurs twice; else see
        :func:`~snn_detector_ros.evaluation.runner.evaluate`.
    """
    names = [one.name for one in contestants]
    if not names or len(set(names)) < len(names):
        raise ConfigurationError(f'contestants {", ".join(names) or "(none)"}: give at least one, '
                                 'each with a name of its own')
    class_ids = choose_classes(dataset, classes)
    sightings = []
    outcomes = []
    for one in contestants:
        seen, firing = _run(one, dataset, aliases, progress(one.name))
        sightings.append(seen)
        outcomes.append(Outcome(
            one, score(seen, dataset.names, class_ids),
            tuple(_only(found, class_ids) for found in seen.found), firing))
    return Comparison(dataset, sightings[0].truths, tuple(outcomes))


def _run(
    contestant: Contestant, dataset: LabelledDataset, aliases: Mapping[str, str] | None,
    progress: Progress,
) -> tuple[Sightings, FiringStatistics | None]:
    """Return what a contestant saw, and what its mean frame fired."""
    detect = contestant.open()
    frames: list[FiringStatistics] = []

    def count() -> None:
        if isinstance(detect, Detector) and (firing := detect.firing()):
            frames.append(firing)

    sightings = look(detect, dataset, aliases=aliases, progress=progress, after=count)
    return sightings, mean_firing(frames) if frames else None


def _only(found: Detections, class_ids: Sequence[int]) -> Detections:
    kept = np.isin(found.classes, class_ids)
    return Detections(found.boxes[kept], found.scores[kept], found.classes[kept], found.names)
