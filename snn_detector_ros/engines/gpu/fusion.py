# SPDX-License-Identifier: Apache-2.0
"""Which layers share a launch: they are computed while their input is still in registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from snn_detector_ros.engines.gpu.placement import ALIGNMENT, Placement
from snn_detector_ros.engines.gpu.tiles import MOST_TAIL_CHANNELS
from snn_detector_ros.network import IMAGE, Add, Convolution, Layer, MaxPool, Upsample

#: A kernel writes to so many places; more are copies.
MAX_DESTINATIONS = 2
#: Pools that follow each other in SPPF.
CHAIN = 3


@dataclass
class Fusions:
    """
    What is computed along with other layers.

    :param residuals: the sum that a convolution also computes, by the name of the convolution.
    :param siblings: the convolution of the same input that another also computes, by its name.
    :param chains: the two pools that follow a pool, by its name.
    :param repeats: upsamplings that are written by the layer they read, by its name.
    :param tails: the convolution of single pixels that alone reads another, by the name of the
        other; it may have a sibling.
    """

    residuals: dict[str, Add] = field(default_factory=dict)
    siblings: dict[str, Convolution] = field(default_factory=dict)
    chains: dict[str, tuple[MaxPool, MaxPool]] = field(default_factory=dict)
    repeats: dict[str, list[Upsample]] = field(default_factory=dict)
    tails: dict[str, Convolution] = field(default_factory=dict)

    @property
    def absorbed(self) -> frozenset[str]:
        """Names of the layers that need no launch of their own."""
        layers: list[Layer] = [
            *self.residuals.values(), *self.siblings.values(), *self.tails.values()]
        for chain in self.chains.values():
            layers += chain
        for repeats in self.repeats.values():
            layers += repeats
        return frozenset(layer.name for layer in layers)

    def destinations(self, layer: Layer, placement: Placement) -> int:
        """Return to how many places a layer is written."""
        return len(placement.slots[layer.name]) + sum(
            len(placement.slots[repeat.name]) for repeat in self.repeats.get(layer.name, ()))


def find_fusions(
    layers: Sequence[Layer], placement: Placement, outputs: Sequence[str], *, tails: bool,
) -> Fusions:
    """
    Return what can be fused.

    :param layers: in order of execution.
    :param outputs: names of the outputs, which must be written.
    :param tails: whether the kernels can let a convolution follow another.
    """
    finder = _Finder(layers, placement, outputs)
    for layer in layers:
        match layer:
            case Upsample():
                finder.repeat(layer)
            case Add():
                finder.residual(layer)
    for layer in layers:
        match layer:
            case Convolution():
                finder.sibling(layer)
            case MaxPool():
                finder.chain(layer)
    for layer in layers:
        if tails and isinstance(layer, Convolution):
            finder.tail(layer)
    return finder.fusions


class _Finder:
    def __init__(
        self, layers: Sequence[Layer], placement: Placement, outputs: Sequence[str],
    ) -> None:
        self.fusions = Fusions()
        self._layers = layers
        self._placement = placement
        self._outputs = outputs
        self._order = {layer.name: index for index, layer in enumerate(layers)}
        self._readers: dict[str, list[Layer]] = {layer.name: [] for layer in layers}
        for layer in layers:
            for source in layer.sources:
                if source != IMAGE:
                    self._readers[source].append(layer)

    def repeat(self, layer: Upsample) -> None:
        """Let the layer that is upsampled be written once more, unless it is no launch."""
        source = self._layers[self._order[layer.source]]
        if not isinstance(source, (Convolution, Add, MaxPool)):
            return
        places = (self.fusions.destinations(source, self._placement)
                  + len(self._placement.slots[layer.name]))
        if places <= MAX_DESTINATIONS:
            self.fusions.repeats.setdefault(source.name, []).append(layer)

    def residual(self, layer: Add) -> None:
        """Add in the later of two convolutions, if nobody else wants to know what it fires."""
        first, second = sorted(layer.sources, key=self._order.__getitem__)
        conv = self._layers[self._order[second]]
        if (isinstance(conv, Convolution) and first != second and conv.name not in self._outputs
                and self._readers[conv.name] == [layer]
                and self._placement.view(first).is_contiguous):
            self.fusions.residuals[conv.name] = layer

    def sibling(self, layer: Convolution) -> None:
        """Compute two convolutions of the same input and shape as one of more channels."""
        if not self._may_share(layer) or len(layer.weight) % ALIGNMENT:
            return
        for other in self._readers.get(layer.source, ()):
            if (isinstance(other, Convolution) and self._may_share(other)
                    and self._order[other.name] > self._order[layer.name]
                    and _geometry(other) == _geometry(layer)):
                self.fusions.siblings[layer.name] = other
                return

    def chain(self, layer: MaxPool) -> None:
        """Find two pools that go on with the pool as in SPPF."""
        pools = [layer]
        while len(pools) < CHAIN:
            found = next((other for other in self._readers[pools[-1].name]
                          if isinstance(other, MaxPool)), None)
            if found is None or not _is_same_padding(found, layer):
                return
            pools.append(found)
        single = all(self.fusions.destinations(pool, self._placement) == 1 for pool in pools)
        if single and _is_same_padding(layer, layer) and not any(
                pool.name in self.fusions.absorbed for pool in pools):
            self.fusions.chains[layer.name] = (pools[1], pools[2])

    def tail(self, layer: Convolution) -> None:
        """Let the only reader of a convolution, or two siblings, follow in the same launch."""
        fusions, name = self.fusions, layer.name
        readers = self._readers[name]
        if (layer.is_readout or name in self._outputs or not readers
                or len(layer.weight) > MOST_TAIL_CHANNELS
                or name in fusions.residuals or name in fusions.siblings
                or name in fusions.absorbed):
            return
        first = readers[0]
        followers = [first, *([fusions.siblings[first.name]]
                              if first.name in fusions.siblings else [])]
        if (isinstance(first, Convolution) and readers == followers and _is_pointwise(first)
                and not first.is_readout and first.name not in fusions.residuals
                and (first.slope > 0) == (layer.slope > 0)):
            fusions.tails[name] = first

    def _may_share(self, conv: Convolution) -> bool:
        fusions = self.fusions
        return (not conv.is_readout and conv.source != IMAGE
                and conv.name not in fusions.residuals and conv.name not in fusions.siblings
                and conv.name not in {other.name for other in fusions.siblings.values()}
                and fusions.destinations(conv, self._placement) == 1)


def _geometry(conv: Convolution) -> tuple[object, ...]:
    return (conv.weight.shape[1:], conv.stride, conv.padding, conv.slope)


def _is_pointwise(conv: Convolution) -> bool:
    return (conv.weight.shape[2:] == (1, 1) and conv.stride == (1, 1)
            and not any(conv.padding))


def _is_same_padding(pool: MaxPool, first: MaxPool) -> bool:
    """Whether a pool keeps the size, with a square window like the first's."""
    side = first.kernel[0]
    return (pool.kernel == (side, side) and side % 2 == 1 and side > 1 and pool.stride == (1, 1)
            and bool(np.all(np.array(pool.padding) == side // 2)))
