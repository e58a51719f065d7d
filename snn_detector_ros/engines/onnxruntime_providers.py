# SPDX-License-Identifier: Apache-2.0
"""
Other providers of ONNX Runtime: the graph of the model file on CUDA, TensorRT or OpenVINO.

They run the standard operators of the QDQ graph, not the contributed ones of the CPU engine. On a
CPU, by OpenVINO too, it is level-exact. CUDA and TensorRT multiply dequantised weights and add in
an order of their own, so that a membrane which all but touches a threshold may end on its other
side: they come close, and say so in their name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import GraphProto, TensorProto, helper

from snn_detector_ros.engines.base import check_pixels
from snn_detector_ros.engines.integer_graph import exceeds_pairs
from snn_detector_ros.engines.onnxruntime import (
    CPU_PROVIDER,
    Provider,
    bound_array,
    open_session,
    pairs_saturate,
    provider_name,
)
from snn_detector_ros.engines.statistics import FiringStatistics
from snn_detector_ros.engines.stored_levels import StoredLevels
from snn_detector_ros.errors import EngineError
from snn_detector_ros.network import IMAGE, Convolution, Layer, SpikingNetwork
from snn_detector_ros.network.qdq_writer import OPSET, write_graph
from snn_detector_ros.network.validation import check_shapes, require_separated, validate

#: TensorFloat-32 would cut the factors of products to 11 bits.
_CUDA: Provider = ('CUDAExecutionProvider', {'use_tf32': '0'})
#: By the value of the option ``engine``: the provider, and those for operators that it lacks.
PROVIDERS: dict[str, tuple[Provider, ...]] = {
    'onnxruntime-cuda': (_CUDA, CPU_PROVIDER),
    'onnxruntime-tensorrt': ('TensorrtExecutionProvider', _CUDA, CPU_PROVIDER),
    'onnxruntime-openvino': ('OpenVINOExecutionProvider', CPU_PROVIDER),
}
#: What to install from PyPI for an engine.
PACKAGES = {
    'onnxruntime-cuda': 'onnxruntime-gpu',
    'onnxruntime-tensorrt': 'onnxruntime-gpu',
    'onnxruntime-openvino': 'onnxruntime-openvino',
}
#: Providers that compute integers as such.
EXACT_PROVIDERS = (CPU_PROVIDER, 'OpenVINOExecutionProvider')


def providers_of(engine: str, *, threads: int = 0) -> tuple[Provider, ...]:
    """
    Return the providers of an engine, best first.

    :param engine: a name in :data:`PROVIDERS`.
    :param threads: threads of a provider that has its own; 0 leaves the choice to it.
    :raises EngineError: if this build of ONNX Runtime lacks the provider.
    """
    providers = PROVIDERS[engine]
    wanted, built_in = provider_name(providers[0]), onnxruntime.get_available_providers()
    if wanted not in built_in:
        raise EngineError(
            f'engine `{engine}`: the installed ONNX Runtime has no {wanted}, only '
            f'{", ".join(built_in)}; install the package that has it: pip uninstall onnxruntime; '
            f'pip install {PACKAGES[engine]}')
    if engine == 'onnxruntime-openvino' and threads:
        return (wanted, {'num_of_threads': str(threads)}), *providers[1:]
    return providers


class OnnxProviderEngine:
    """
    Runs the graph of a network's model file in one pass, with any provider.

    Readouts leave that graph as floats. Here they have steps of 1 and no bias, so that they are the
    sums of integers themselves. Those are exact in any order of addition as long as no partial sum
    passes 2^24; a larger one is rounded to 24 bits, as it is where the file itself is run.

    :param network: the network; is validated.
    :param name: name of the engine.
    :param providers: providers of ONNX Runtime, best first.
    :param input_size: (height, width) of the picture in px; the network's own if None.
    :param threads: threads of the runtime; 0 takes one per physical core.
    :param spinning: let idle threads spin.
    :param statistics: keep the levels of every layer, for :meth:`levels` and :meth:`firing`.
    :raises EngineError: if ONNX Runtime cannot run the network with the first provider, or an exact
        provider would not be exact on this CPU.
    """

    def __init__(
        self,
        network: SpikingNetwork,
        *,
        name: str,
        providers: Sequence[Provider],
        input_size: tuple[int, int] | None = None,
        threads: int = 0,
        spinning: bool = False,
        statistics: bool = True,
    ) -> None:
        validate(network)
        require_separated(network, name)
        self.name = name
        if provider_name(providers[0]) in EXACT_PROVIDERS:
            _check_exact_on_this_cpu(network)
        else:
            self.name += ' (close, not level-exact)'
        self.network = network
        self.input_size = input_size or network.input_size
        shapes = check_shapes(network, self.input_size)
        self._shape = shapes[IMAGE]
        kept = [layer.name for layer in network.firing_layers
                if statistics or layer.name in network.outputs]
        graph = _graph(replace(network, input_size=self.input_size), kept)
        model = helper.make_model(
            graph, ir_version=8, opset_imports=[helper.make_opsetid('', OPSET)])
        self._session = open_session(
            model.SerializeToString(), threads=threads, spinning=spinning, providers=providers)
        self._binding = self._session.io_binding()
        self._pixels = _pixels_last(bound_array(graph.input[0], self._binding.bind_input))
        outputs = {value.name: _pixels_last(bound_array(value, self._binding.bind_output))
                   for value in graph.output}
        self._sums = {name: outputs[name] for name in network.outputs if name not in kept}
        # The graph applies each activation itself, so nothing is left to do to the bytes.
        self._levels = StoredLevels(
            network, self.input_size, {name: outputs[name] for name in kept},
            dict.fromkeys(kept, 1.0), statistics=statistics)
        self._readouts = {name: np.zeros(shapes[name], np.int32) for name in network.outputs}

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.int32]]:
        check_pixels(pixels, self._shape)
        self._pixels[...] = pixels
        self._session.run_with_iobinding(self._binding)
        for name, readout in self._readouts.items():
            readout[...] = (np.rint(self._sums[name]) if name in self._sums
                            else self._levels.of(name))
        return self._readouts

    def levels(self) -> dict[str, NDArray[np.uint8] | NDArray[np.int8]]:
        return self._levels.levels()

    def firing(self) -> FiringStatistics:
        return self._levels.firing()


def _check_exact_on_this_cpu(network: SpikingNetwork) -> None:
    """
    Refuse a network whose standard graph this CPU would get wrong.

    :raises EngineError: naming the layer and the remedy.
    """
    for conv in network.convolutions:
        if exceeds_pairs(network, conv) and pairs_saturate():
            raise EngineError(
                f'{conv.name}: its levels times its weights overflow the 16-bit sums of this CPU: '
                'choose the engine `onnxruntime`, which avoids them, or convert the network with '
                'fewer levels (T=4: --burst 12, or 6 where levels are signed)')


def _graph(network: SpikingNetwork, kept: Iterable[str]) -> GraphProto:
    """
    Return the graph of the model file that puts out integers.

    :param kept: the layers whose levels are outputs.
    """
    graph = write_graph(replace(
        network, layers=tuple(_without_unit(layer) for layer in network.layers)))
    sums = [value for value in graph.output if value.name in network.outputs]
    shapes = network.shapes()
    levels = [helper.make_tensor_value_info(name, TensorProto.UINT8, [1, channels, height, width])
              for name in kept for height, width, channels in [shapes[name]]]
    del graph.output[:]
    graph.output.extend(sums + levels)
    return graph


def _without_unit(layer: Layer) -> Layer:
    """Take step and bias from a readout, so that its real values are its sums."""
    if not (isinstance(layer, Convolution) and layer.is_readout):
        return layer
    return replace(layer, step=np.ones_like(layer.step), bias=np.zeros_like(layer.bias))


def _pixels_last(planes: NDArray[Any]) -> NDArray[Any]:
    """Return the one picture of an array [1, C, h, w], as a view [h, w, C]."""
    return planes[0].transpose(1, 2, 0)
