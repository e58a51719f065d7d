# SPDX-License-Identifier: Apache-2.0
"""Find the float network that a spiking one is measured against, and measure it layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from snn_detector_ros.conversion import FloatNetwork, dequantise
from snn_detector_ros.datasets.image_folder import evenly_spread, read_bgr
from snn_detector_ros.datasets.labels import LabelledDataset
from snn_detector_ros.detection.letterbox import Letterbox
from snn_detector_ros.evaluation.comparison import Comparison
from snn_detector_ros.evaluation.contestants import Contestant
from snn_detector_ros.evaluation.layer_errors import LayerError, is_ancestor, layer_errors
from snn_detector_ros.network import SpikingNetwork

#: Name of the twin of a network whose float ancestor is not at hand.
OWN_WEIGHTS = 'its own weights'


@dataclass(frozen=True)
class TwinErrors:
    """
    Errors of a spiking network by layer.

    :param twin: name of the float detector it was measured against, or :data:`OWN_WEIGHTS`: then
        the rounding of weights does not show, only that of activations.
    """

    twin: str
    layers: tuple[LayerError, ...]


def float_twin(
    network: SpikingNetwork, contestants: Sequence[Contestant],
) -> tuple[str, FloatNetwork]:
    """Return the first float contestant with the layers of a network, or its own weights."""
    for one in contestants:
        if one.float_network is not None and is_ancestor(one.float_network, network):
            return one.name, one.float_network
    return OWN_WEIGHTS, dequantise(network)


def errors_by_layer(
    comparison: Comparison, *, limit: int, engine: str = 'auto',
) -> dict[str, TwinErrors]:
    """
    Measure every converted network of a comparison against its float twin.

    :param limit: most pictures to use, evenly spread; at least 1.
    :param engine: engine that runs the spikes.
    :returns: the errors by name of the contestant.
    """
    contestants = [one.contestant for one in comparison.outcomes]
    return {one.name: errors_of(network, contestants, comparison.dataset,
                                limit=limit, engine=engine)
            for one in comparison.outcomes
            if isinstance(network := one.contestant.network, SpikingNetwork)}


def errors_of(
    network: SpikingNetwork, contestants: Sequence[Contestant], dataset: LabelledDataset, *,
    limit: int, engine: str = 'auto',
) -> TwinErrors:
    """Measure one network; see :func:`errors_by_layer`."""
    name, floats = float_twin(network, contestants)
    letterbox = Letterbox(network.input_size)
    pictures = (letterbox(read_bgr(sample.path)) for sample in evenly_spread(list(dataset), limit))
    return TwinErrors(name, layer_errors(floats, network, pictures, engine=engine))
