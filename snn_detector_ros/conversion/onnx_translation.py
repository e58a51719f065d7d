# SPDX-License-Identifier: Apache-2.0
"""
Walk through an ONNX graph and turn it into the layers of a :class:`FloatNetwork`.

The *body* of a network is all that its last convolutions need; each of its nodes becomes a layer,
becomes part of one, or only moves elements. What follows the last convolutions is the *tail*: boxes
are decoded there, in float. A tensor that the tail reads leaves the body through a readout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isinf, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.conversion.float_network import (
    FloatConvolution,
    FloatLayer,
    FloatNetwork,
)
from snn_detector_ros.conversion.layer_names import layer_names
from snn_detector_ros.conversion.onnx_body import find_body
from snn_detector_ros.conversion.onnx_graph import OnnxGraph, OnnxNode
from snn_detector_ros.conversion.onnx_operators import FOLDABLE, OPERATORS, refusal
from snn_detector_ros.conversion.tensor_view import NO_PADDING, View
from snn_detector_ros.conversion.view_layers import layers_of_view, relay
from snn_detector_ros.errors import ConversionError
from snn_detector_ros.network import IMAGE, Shape
from snn_detector_ros.network.validation import MAX_LEVELS


class Translation:
    """
    One walk through a graph.

    :param graph: the graph; the walk folds its constants.
    :param picture: the input of the graph, as a view of the picture.
    """

    def __init__(self, graph: OnnxGraph, picture: View) -> None:
        self.graph = graph
        self.batch, _, *size = picture.source
        self.input_size = (size[0], size[1])
        #: ONNX tensor in which each readout leaves the network.
        self.readouts: dict[str, str] = {}
        self._layers: dict[str, FloatLayer] = {}
        self._shapes: dict[str, Shape] = {IMAGE: (*self.input_size, picture.source[1])}
        self._views = {graph.picture: picture}
        self._tensors: dict[str, str | None] = {}  # the tensor that each layer is
        self._signed = frozenset[str]()
        self._names = layer_names(graph.nodes)

    def run(self) -> FloatNetwork:
        """
        Translate all nodes.

        :returns: the layers that the readouts need, without head and class names.
        :raises ConversionError: naming the node that cannot be translated.
        """
        body = find_body(self.graph)
        read: dict[str, None] = {}  # what the tail reads, in order
        for node in self.graph.nodes:
            if self.graph.fold(node) or self._is_shape(node):
                continue
            if node in body:
                self._translate(node)
            elif not self._fold_into_readout(node):
                read.update(dict.fromkeys(node.inputs))
        for tensor in [*read, *self.graph.outputs]:
            if tensor in self._views:
                self._declare_readout(tensor)
        if not self.readouts:
            raise ConversionError(f'{self.graph.path}: no output depends on the picture through '
                                  'a convolution')
        return FloatNetwork(
            name=self.graph.path.stem, input_size=self.input_size, layers=self._needed_layers(),
            outputs=tuple(self.readouts))

    @property
    def readout_sizes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each ONNX tensor in which a readout leaves the network."""
        return {tensor: self._views[tensor].shape for tensor in self.readouts.values()}

    def view(self, node: OnnxNode, index: int = 0) -> View:
        """Return what an input of a node is."""
        view = self._views.get(node.inputs[index])
        if view is None:
            raise node.error(f'input `{node.inputs[index]}` is a constant; it must come from the '
                             'picture')
        shared = self.graph.consumers[node.inputs[index]] > 1
        return replace(view, exclusive=False) if shared else view

    def is_constant(self, tensor: str) -> bool:
        """Whether a tensor does not depend on the picture."""
        return tensor not in self._views

    def source(self, node: OnnxNode, index: int = 0, *, padded: bool = False) -> str:
        """
        Return the layer that an input of a node is, adding copies where elements were moved.

        :param padded: whether the node takes over padding; it becomes a layer if not.
        """
        view = self.view(node, index)
        if view.layer == IMAGE:
            raise node.error('only a convolution may read the picture; prepare it outside')
        layers = [] if view.index is None else layers_of_view(view, self.is_signed(view.layer))
        if layers is None:
            raise node.error(f'input `{node.inputs[index]}` of {view.shape} rearranges '
                             f'`{view.layer}` of {view.source} into something other than maps')
        for layer in layers:
            self._append_once(node, layer)
        source = layers[-1].name if layers else view.layer
        if view.padding == NO_PADDING or padded:
            return source
        sides = '-'.join(map(str, view.padding))
        zeros = relay(f'{source}.padded{sides}', source, self.shape(source)[2],
                      float(self.is_signed(source)), view.padding)
        self._append_once(node, zeros)
        return zeros.name

    def constant(self, node: OnnxNode, index: int) -> NDArray[Any] | None:
        """Return the constant that a node reads; None if it is absent or not constant."""
        return self.graph.constant(node.inputs[index]) if index < len(node.inputs) else None

    def membrane(self, view: View) -> FloatConvolution | None:
        """Return the convolution without activation that a view is, if nothing else reads it."""
        layer = self._layers.get(view.layer)
        can_change = isinstance(layer, FloatConvolution) and layer.slope == 1 and (
            view.exclusive and view.padding == NO_PADDING and view.is_whole)
        return layer if isinstance(layer, FloatConvolution) and can_change else None

    def is_signed(self, layer: str) -> bool:
        """Whether a layer may be negative."""
        return layer in self._signed

    def shape(self, name: str) -> Shape:
        """Return (height, width, channels) of a layer."""
        return self._shapes[name]

    def name(self, node: OnnxNode, suffix: str = '') -> str:
        """Return the name that the output of a node has as a layer."""
        return self._names[node.outputs[0]] + suffix

    def add(
        self, node: OnnxNode, layer: FloatLayer, view: View | None = None,
    ) -> None:
        """
        Append the layer that makes the output of a node, or change one that exists.

        :param view: how the output lies in the layer; None if it is the layer's own tensor.
        """
        self._append(node, layer)
        height, width, channels = self._shapes[layer.name]
        whole = View(layer.name, (self.batch, channels, height, width))
        own = view is None or view.is_natural
        self._tensors[layer.name] = node.outputs[0] if own else None
        self._views[node.outputs[0]] = whole if view is None else replace(
            whole, index=view.index, exclusive=view.exclusive)

    def set_view(self, tensor: str, view: View) -> None:
        """Declare what a tensor is."""
        self._views[tensor] = view

    def _append_once(self, node: OnnxNode, layer: FloatLayer) -> None:
        """Append a copy, unless another node has needed it already."""
        if layer.name not in self._layers:
            self._append(node, layer)

    def _append(self, node: OnnxNode, layer: FloatLayer) -> None:
        shape = layer.output_shape(tuple(self._shapes[source] for source in layer.sources))
        if min(shape) < 1:
            raise node.error(f'nothing is left of {self.input_size[0]}x{self.input_size[1]} px '
                             'here; use a larger input size')
        if prod(shape) > MAX_LEVELS:
            raise node.error(f'an output of {shape} is too large; use a smaller input size')
        self._layers[layer.name] = layer
        self._shapes[layer.name] = shape
        self._signed = FloatNetwork('', (0, 0), (*self._layers.values(),), ()).signed

    def _is_shape(self, node: OnnxNode) -> bool:
        if node.operator != 'Shape' or node.inputs[0] not in self._views:
            return False
        view = self._views[node.inputs[0]]
        top, left, bottom, right = view.padding
        shape = np.array(view.shape, np.int64)
        shape[-2:] += (top + bottom, left + right) if view.padding != NO_PADDING else (0, 0)
        first, last = node.attributes.get('start', 0), node.attributes.get('end', len(shape))
        self.graph.set_constant(node.outputs[0], shape[first:last])
        return True

    def _translate(self, node: OnnxNode) -> None:
        if node.operator not in OPERATORS:
            raise refusal(node)
        try:
            OPERATORS[node.operator](self, node)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise node.error(f'is malformed ({type(error).__name__}: {error}); '
                             'export the network again') from error

    def _fold_into_readout(self, node: OnnxNode) -> bool:
        """Fold a bias or a normalisation behind the last convolution, and only that."""
        if node.operator not in FOLDABLE or sum(name in self._views for name in node.inputs) != 1:
            return False
        first = next(index for index, name in enumerate(node.inputs) if name in self._views)
        view = self.view(node, first)
        if self.membrane(view) is None or not view.is_natural:
            return False
        try:
            self._translate(node)
        except ConversionError:
            return False  # what is no bias a channel is decoding
        return True

    def _declare_readout(self, tensor: str) -> None:
        layer = self._layers.get(self._views[tensor].layer)
        if layer is None:
            raise ConversionError(
                f'`{tensor}` is read from the picture behind the last convolution; make it outside')
        tensor_of_layer = self._tensors.get(layer.name)
        if tensor_of_layer is None:
            raise ConversionError(
                f'output `{tensor}` is a copy of `{layer.name}` in another order, which cannot be '
                'read out; put a convolution behind it')
        if tensor_of_layer in self.readouts.values():
            return
        is_membrane = isinstance(layer, FloatConvolution) and layer.slope == 1 and isinf(layer.cap)
        if not is_membrane or any(layer.name in other.sources for other in self._layers.values()):
            layer = self._copy_out(layer.name)
        self.readouts[layer.name] = tensor_of_layer

    def _copy_out(self, source: str) -> FloatConvolution:
        """Read out levels through a synapse of weight one each."""
        layer = relay(f'{source}.out', source, self._shapes[source][2], 1.0)
        self._layers[layer.name] = layer
        self._shapes[layer.name] = self._shapes[source]
        return layer

    def _needed_layers(self) -> tuple[FloatLayer, ...]:
        needed = set(self.readouts)
        for layer in reversed(self._ordered()):
            if layer.name in needed:
                needed.update(layer.sources)
        return tuple(layer for layer in self._ordered() if layer.name in needed)

    def _ordered(self) -> Sequence[FloatLayer]:
        return tuple(self._layers.values())
