# SPDX-License-Identifier: Apache-2.0
"""Run a detector over labelled windows of events: how much it finds, and how much it fires."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snn_detector_ros.datasets.labels import Role
from snn_detector_ros.detection.detector import Detector
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.engines.statistics import FiringStatistics, mean_firing
from snn_detector_ros.evaluation.event_samples import EventSample
from snn_detector_ros.evaluation.runner import (
    EvaluationResult,
    Sightings,
    class_numbers,
    renumber,
    score,
)

#: Wraps the windows to show how far the work is, like ``tqdm.tqdm``.
EventProgress = Callable[[Iterable[EventSample]], Iterable[EventSample]]


@dataclass(frozen=True, eq=False)
class EventEvaluation:
    """
    What an evaluation on windows of events found.

    :param result: how much was found; its pictures are windows.
    :param firing: what the mean window fired.
    """

    result: EvaluationResult
    firing: FiringStatistics

    def as_row(self) -> dict[str, Any]:
        """Return the figures for JSON; energies are estimates in J, for one window."""
        firing = self.firing
        return {
            **self.result.as_row(),
            'firing_rate': firing.rate,
            'firing_rate_by_layer': firing.rate_by_layer,
            'energy_joules': firing.energy_joules,
            'float_energy_joules': firing.ann_energy_joules,
            'energy_ratio': firing.energy_joules / firing.ann_energy_joules}


def evaluate_events(
    detector: Detector,
    samples: Sequence[EventSample],
    names: tuple[str, ...],
    *,
    classes: Sequence[str] | None = None,
    aliases: Mapping[str, str] | None = None,
    progress: EventProgress = iter,
) -> EventEvaluation:
    """
    Evaluate a detector that reads events.

    :param detector: keeps statistics; made with
        :data:`~snn_detector_ros.evaluation.runner.DETECTOR_OPTIONS`.
    :param samples: the labelled windows, at least one.
    :param names: what the numbers of their classes mean.
    :param classes: names of the classes to look at; all if None.
    :param aliases: see :func:`~snn_detector_ros.evaluation.class_names.match_classes`.
    :raises ConfigurationError: if the windows show none of the classes, or the detector knows none
        of them.
    """
    truths = tuple(one.truth for one in samples)
    class_ids = class_numbers(
        names, (truth.classes[truth.of_role(Role.OBJECT)] for truth in truths), classes)
    found, frames = look_at_events(detector, samples, progress=progress)
    seen = Sightings(truths, tuple(renumber(one, names, aliases) for one in found))
    return EventEvaluation(score(seen, names, class_ids), mean_firing(frames))


def look_at_events(
    detector: Detector, samples: Sequence[EventSample], *, progress: EventProgress = iter,
) -> tuple[list[Detections], list[FiringStatistics]]:
    """
    Show all windows to a detector.

    :returns: what it finds in each, and what it fires.
    """
    found: list[Detections] = []
    frames: list[FiringStatistics] = []
    for sample in progress(samples):
        found.append(sample.found_by(detector))
        firing = detector.firing()
        assert firing is not None  # statistics are on
        frames.append(firing)
    return found, frames
