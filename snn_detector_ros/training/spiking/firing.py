# SPDX-License-Identifier: Apache-2.0
"""
Count the spikes that convolutions of a trained network see, and estimate what they cost.

As in EMS-YOLO, a spike costs an addition in every synapse that it reaches, and a convolution that
reads reals costs a multiply-accumulate in every synapse and step (once, if all steps are equal).
The twin of ordinary neurons needs one pass of multiply-accumulates.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snn_detector_ros.engines.statistics import ENERGY_PER_AC, ENERGY_PER_MAC


@dataclass(frozen=True)
class LayerFiring:
    """
    One convolution.

    :param name: in the network.
    :param rate: spikes per input neuron and step; 1 where the input is real.
    :param synapses: multiply-accumulates of one pass, for one picture.
    :param passes: passes a picture: T, or 1 for what is computed once.
    :param is_spiking: all inputs were 0 or 1.
    """

    name: str
    rate: float
    synapses: int
    passes: float
    is_spiking: bool


@torch.no_grad()
def measure_firing(model: nn.Module, inputs: Iterable[Tensor]) -> list[LayerFiring]:
    """
    Run a network, and look at the input of each convolution.

    :param model: the network; is set to inference.
    :param inputs: what ``model`` takes, at least one batch.
    :returns: the convolutions in the order of their first use.
    """
    model.eval()
    sums: dict[str, Tensor] = {}
    synapses: dict[str, int] = {}
    pictures = 0

    def note(name: str, layer: nn.Conv2d, x: Tensor, y: Tensor) -> None:
        is_spiking = bool(((x == 0) | (x == 1)).all())
        total = torch.tensor(
            [float(x.sum()), x.numel(), len(x), is_spiking, 1], dtype=torch.float64)
        sums[name] = sums[name] + total if name in sums else total
        synapses[name] = layer.weight.numel() * y.shape[2] * y.shape[3]

    handles = [
        layer.register_forward_hook(
            lambda layer, x, y, name=name: note(name, layer, x[0], y))
        for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)]
    try:
        for batch in inputs:
            pictures += len(batch)
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
    layers = []
    for name, (spikes, neurons, passes, spiking, batches) in (
            (name, total.tolist()) for name, total in sums.items()):
        is_spiking = spiking == batches
        layers.append(LayerFiring(
            name, spikes / neurons if is_spiking else 1.0, synapses[name], passes / pictures,
            is_spiking))
    return layers


def energy_ratio(layers: Sequence[LayerFiring]) -> float:
    """
    Return the estimated energy of a picture, relative to the twin of ordinary neurons.

    :param layers: all convolutions of the network.
    """
    spiking = sum(
        layer.synapses * layer.passes * layer.rate
        * (ENERGY_PER_AC if layer.is_spiking else ENERGY_PER_MAC) for layer in layers)
    return spiking / (ENERGY_PER_MAC * sum(layer.synapses for layer in layers))
