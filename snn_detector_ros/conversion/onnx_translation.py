# SPDX-License-Identifier: Apache-2.0
"""
Walk through an ONNX graph and turn it into the layers of a :class:`FloatNetwork`.

Each tensor of the graph is one of three things: a constant, the output of a layer, or
post-processing, which is everything that follows a convolution without ReLU. Post-processing that
leads back into a convolution is no post-processing but an operator that has no spiking form.
"""

from __future__ import annotations

from math import prod
from typing import Any

from numpy.typing import NDArray

from snn_detector_ros.conversion.float_network import FloatConvolution, FloatLayer, FloatNetwork
from snn_detector_ros.conversion.layer_names import layer_names
from snn_detector_ros.conversion.onnx_graph import OnnxGraph, OnnxNode
from snn_detector_ros.conversion.onnx_operators import COPIES, ON_MEMBRANES, OPERATORS, REMEDIES
from snn_detector_ros.errors import ConversionError
from snn_detector_ros.network import IMAGE, Shape
from snn_detector_ros.network.validation import MAX_LEVELS


class Translation:
    """
    One walk through a graph.

    :param graph: the graph; the walk folds its constants.
    :param input_size: (height, width) of the picture in px.
    """

    def __init__(self, graph: OnnxGraph, input_size: tuple[int, int]) -> None:
        self.graph = graph
        self.input_size = input_size
        #: ONNX tensor in which each readout leaves the network.
        self.readouts: dict[str, str] = {}
        #: Node in which the post-processing that made a tensor began.
        self.post_processing: dict[str, OnnxNode] = {}
        self._layers: dict[str, FloatLayer] = {}
        self._shapes: dict[str, Shape] = {IMAGE: (*input_size, 3)}
        self._sources = {graph.picture: IMAGE}
        self._names = layer_names(graph.nodes)

    def run(self) -> FloatNetwork:
        """
        Translate all nodes.

        :returns: the layers that the readouts need, without head and class names.
        :raises ConversionError: naming the node that cannot be translated.
        """
        for node in self.graph.nodes:
            if not self.graph.fold(node):
                self._translate(node)
        for tensor in self.graph.outputs:
            if tensor not in self.post_processing:
                self._declare_readout(tensor)
        return FloatNetwork(
            name=self.graph.path.stem, input_size=self.input_size, layers=self._needed_layers(),
            outputs=tuple(self.readouts))

    def source(self, node: OnnxNode, index: int = 0) -> str:
        """Return the layer that an input of a node comes from."""
        name = self._sources.get(node.inputs[index])
        if name is None:
            raise node.error(f'input `{node.inputs[index]}` is a constant; it must come from the '
                             'picture')
        if name == IMAGE and node.operator not in ('Conv', 'Shape', *COPIES):
            raise node.error('only a convolution may read the picture; prepare it outside')
        return name

    def constant(self, node: OnnxNode, index: int) -> NDArray[Any] | None:
        """Return the constant that a node reads; None if it is absent or not constant."""
        return self.graph.constant(node.inputs[index]) if index < len(node.inputs) else None

    def membrane(self, node: OnnxNode) -> FloatConvolution | None:
        """Return the convolution without ReLU that a node reads; None if it reads a layer."""
        name = self.source(node)
        layer = self._layers.get(name)
        if not isinstance(layer, FloatConvolution) or layer.relu:
            return None
        if self.graph.consumers[node.inputs[0]] > 1:
            raise node.error(f'convolution `{name}` is also read by others, without it')
        return layer

    def shape(self, name: str) -> Shape:
        """Return (height, width, channels) of a layer."""
        return self._shapes[name]

    def name(self, node: OnnxNode, output: int = 0) -> str:
        """Return the name that an output of a node has as a layer."""
        return self._names[node.outputs[output]]

    def add(self, node: OnnxNode, layer: FloatLayer, output: int = 0) -> None:
        """Append the layer that makes an output of a node, or change one that exists."""
        shape = layer.output_shape(tuple(self._shapes[source] for source in layer.sources))
        if min(shape) < 1:
            raise node.error(f'nothing is left of {self.input_size[0]}x{self.input_size[1]} px '
                             'here; use a larger input size')
        if prod(shape) > MAX_LEVELS:
            raise node.error(f'an output of {shape} is too large; use a smaller input size')
        self._layers[layer.name] = layer
        self._shapes[layer.name] = shape
        self._sources[node.outputs[output]] = layer.name

    def alias(self, node: OnnxNode) -> None:
        """Let the output of a node stand for its input."""
        self._sources[node.outputs[0]] = self.source(node)
        # Whoever else reads the input reads the same layer as the readers of the output.
        consumers = self.graph.consumers
        consumers[node.outputs[0]] += consumers[node.inputs[0]] - 1

    def set_constant(self, node: OnnxNode, value: NDArray[Any]) -> None:
        """Declare the output of a node to be a constant."""
        self.graph.set_constant(node.outputs[0], value)

    def _translate(self, node: OnnxNode) -> None:
        origin = self._post_processing_origin(node)
        if origin is not None and node.operator == 'Conv':
            raise self._not_spiking(origin)
        if origin is not None:
            self.post_processing.update(dict.fromkeys(node.outputs, origin))
        elif node.operator in OPERATORS:
            try:
                OPERATORS[node.operator](self, node)
            except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                raise node.error(f'is malformed ({type(error).__name__}: {error}); '
                                 'export the network again') from error
        else:
            raise node.error(REMEDIES.get(node.operator, 'this operator has no spiking form here'))

    def _post_processing_origin(self, node: OnnxNode) -> OnnxNode | None:
        for tensor in node.inputs:
            if tensor in self.post_processing:
                return self.post_processing[tensor]
        membranes = [tensor for tensor in node.inputs if self._is_membrane(tensor)]
        if not membranes or node.operator in ON_MEMBRANES:
            return None
        for tensor in membranes:
            self.readouts.setdefault(self._sources[tensor], tensor)
        return node

    def _declare_readout(self, tensor: str) -> None:
        if not self._is_membrane(tensor):
            raise ConversionError(
                f'output `{tensor}` is no convolution without activation; a spiking network is '
                'read out from the membranes of such convolutions')
        self.readouts.setdefault(self._sources[tensor], tensor)

    def _is_membrane(self, tensor: str) -> bool:
        layer = self._layers.get(self._sources.get(tensor, ''))
        return isinstance(layer, FloatConvolution) and not layer.relu

    def _not_spiking(self, origin: OnnxNode) -> ConversionError:
        conv = next(self._sources[tensor] for tensor in origin.inputs if self._is_membrane(tensor))
        remedy = REMEDIES.get(
            origin.operator, 'put a ReLU behind that convolution and fine-tune the network')
        return origin.error(f'convolution `{conv}` reaches other convolutions through it, without '
                            f'a ReLU: {remedy}')

    def _needed_layers(self) -> tuple[FloatLayer, ...]:
        needed = set(self.readouts)
        for layer in reversed(self._layers.values()):
            if layer.name in needed:
                needed.update(layer.sources)
        return tuple(layer for layer in self._layers.values() if layer.name in needed)
