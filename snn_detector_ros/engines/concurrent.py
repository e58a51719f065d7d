# SPDX-License-Identifier: Apache-2.0
"""
Spiking-YOLO as it was published: every neuron receives and may fire in each of T time steps.

A layer's spikes depend on when its inputs fired, so there is no short cut over levels: this engine
really runs T steps, some of them together, layer by layer. It is the reference of networks whose
dynamics are ``concurrent``.

Nothing is rounded. A network states what reaches a membrane in all T steps, ``V = W q + bias``,
with ``q`` the spikes counted over them. A spike brings its weight at once; picture and bias come in
T equal parts, which are fractions of a membrane unit. Neurons that see the picture therefore count
in T-ths of a unit, and elsewhere the share of the bias moves into the comparison (see
:class:`~snn_detector_ros.engines.accumulate_and_fire.Population`). Convolutions run in ONNX Runtime
as float32, on whole numbers whose sums all stay below 2^24, which is checked; membranes are int32,
or int64 where that is too small.

The parts of picture and bias, weights and thresholds are the same in each step, so that the first t
of T steps are what the network would do in t steps: :meth:`ConcurrentEngine.curve` reads a network
of 2048 steps at 8, 16, ... 2048 in one run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.engines.base import check_pixels
from snn_detector_ros.engines.concurrent_layers import Node, Readout, make_node
from snn_detector_ros.engines.statistics import FiringModel, FiringStatistics
from snn_detector_ros.errors import ConfigurationError, EngineError
from snn_detector_ros.network import IMAGE, SpikeCode, SpikingNetwork
from snn_detector_ros.network.validation import check_shapes, validate

#: Spikes of all layers that are kept at once: steps of small networks share the cost of a call,
#: for large ones it was no gain.
SPIKES_AT_ONCE = 1 << 23
MAX_STEPS_AT_ONCE = 32


class ConcurrentEngine:
    """
    Runs a Spiking-YOLO network spike by spike.

    :param network: a network of concurrent dynamics; is validated.
    :param input_size: (height, width) of the picture in px; the network's own if None.
    :param threads: threads of each convolution; 0 takes one per physical core.
    :param spinning: let idle threads spin.
    :param statistics: count the spikes of every layer, for :meth:`levels` and :meth:`firing`.
    :raises ConfigurationError: if the network is made for separated dynamics.
    :raises EngineError: if sums could pass what float32 holds exactly.
    """

    name = 'concurrent'

    def __init__(
        self,
        network: SpikingNetwork,
        *,
        input_size: tuple[int, int] | None = None,
        threads: int = 0,
        spinning: bool = False,
        statistics: bool = True,
    ) -> None:
        validate(network)
        if network.dynamics != 'concurrent' or network.code != SpikeCode.constant(
                network.code.steps):
            raise ConfigurationError(
                f'engine `concurrent`: {network.name!r} has {network.dynamics} dynamics and the '
                f'code {network.code}, but it fires while it receives, with constant weights and '
                'burst 1: use another engine, or convert with --method spiking-yolo')
        self.network = network
        self.input_size = input_size or network.input_size
        shapes = check_shapes(network, self.input_size)
        self._shape = shapes[IMAGE]
        self._nodes: dict[str, Node] = {
            layer.name: make_node(layer, network, shapes, threads=threads, spinning=spinning)
            for layer in network.layers}
        spikes = sum(prod(shapes[layer.name]) for layer in network.layers)
        self._at_once = max(1, min(SPIKES_AT_ONCE // spikes, MAX_STEPS_AT_ONCE))
        self._firing_model = FiringModel(network, self.input_size)
        #: What is summed up over the steps, [C, h, w]: all firing layers, or the outputs only.
        self._counts = {
            layer.name: np.zeros(_planar(shapes[layer.name]), dtype=np.int16)
            for layer in network.firing_layers if statistics or layer.name in network.outputs}
        self._statistics = statistics
        self._spikes = np.zeros((len(self._firing_model.runs), 0), dtype=np.int64)

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.int32]]:
        return dict(self.curve(pixels, (self.network.code.steps,)))[self.network.code.steps]

    def curve(
        self, pixels: NDArray[np.uint8], steps: Sequence[int],
    ) -> Iterator[tuple[int, dict[str, NDArray[np.int32]]]]:
        """
        Run one picture, and read the outputs after each of some numbers of steps.

        :param pixels: uint8 [H, W, C] blue-green-red, of the engine's input size.
        :param steps: increasing divisors of T.
        :returns: the number of steps, and for each output what :meth:`run` would return if the
            rest of the T steps went on like that: ``T / t`` times what has come in by then. Between
            two of them :meth:`levels` and :meth:`firing` tell of the steps so far.
        :raises ImageError: if the picture has another size or type.
        :raises ConfigurationError: if ``steps`` are no increasing divisors of T.
        """
        check_pixels(pixels, self._shape)
        total = self.network.code.steps
        if list(steps) != sorted({step for step in steps if step > 0 and total % step == 0}):
            raise ConfigurationError(
                f'outputs after {list(steps)} steps: name increasing divisors of T = {total}')
        return self._curve(pixels, steps)

    def levels(self) -> dict[str, NDArray[np.int16]]:
        """Return the spikes of each neuron, those of -1 subtracted, int16 [h, w, C]."""
        self._require_statistics()
        return {name: _channels_last(counts) for name, counts in self._counts.items()}

    def firing(self) -> FiringStatistics:
        self._require_statistics()
        return self._firing_model.statistics(self._spikes)

    def _curve(
        self, pixels: NDArray[np.uint8], steps: Sequence[int],
    ) -> Iterator[tuple[int, dict[str, NDArray[np.int32]]]]:
        for node in self._nodes.values():
            node.reset(pixels)
        for counts in self._counts.values():
            counts[:] = 0
        self._spikes = self._spikes[:, :0]
        done = 0
        for stop in steps:
            while done < stop:
                count = min(self._at_once, stop - done)
                self._advance(range(done + 1, done + count + 1))
                done += count
            yield stop, self._read(done)

    def _advance(self, steps: range) -> None:
        """Run some steps, counted from 1, layer by layer."""
        spikes: dict[str, NDArray[np.float32]] = {}
        for layer in self.network.layers:
            inputs = [spikes[source] for source in layer.sources if source != IMAGE]
            spikes[layer.name] = self._nodes[layer.name].advance(inputs, steps)
            if layer.name in self._counts:
                self._counts[layer.name] += spikes[layer.name].sum(axis=0).astype(np.int16)
        if self._statistics:
            self._spikes = np.concatenate([self._spikes, np.array([
                # The square of a spike is 1; a scalar product is the fastest way to count.
                [np.vdot(step[run.channels], step[run.channels]) for step in spikes[run.layer]]
                for run in self._firing_model.runs], dtype=np.int64)], axis=1)

    def _read(self, done: int) -> dict[str, NDArray[np.int32]]:
        share = self.network.code.steps // done
        outputs = {}
        for name in self.network.outputs:
            node = self._nodes[name]
            outputs[name] = _channels_last(
                node.received(share) if isinstance(node, Readout)
                else self._counts[name].astype(np.int32) * share)
        return outputs

    def _require_statistics(self) -> None:
        if not self._statistics:
            raise EngineError('the spikes of this engine were not counted: make it with '
                              'statistics=True')


def _planar(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    height, width, channels = shape
    return channels, height, width


def _channels_last(values: NDArray[np.signedinteger]) -> NDArray[np.signedinteger]:
    return np.ascontiguousarray(values.transpose(1, 2, 0))
