# SPDX-License-Identifier: Apache-2.0
"""
Layers rewritten so that their channels suit the runtime; the sums stay the same.

ONNX Runtime has fast kernels for dense and for depthwise convolutions of bytes. Groups between
these run one after the other, each with an overhead that dwarfs its few products, and Gather moves
single bytes. So groups are filled up with zeros, and channels are moved by a convolution: best by
the one that reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.network import Convolution, Layer, Permutation, Shape, Slice

#: Products for which the overhead of one group lasts: measured where dense and grouped are equal.
PRODUCTS_PER_GROUP = 10_000


def as_dense(conv: Convolution) -> Convolution:
    """Return a convolution without groups where that is faster; depthwise ones stay."""
    count, inputs = conv.weight.shape[:2]
    groups = conv.groups
    depthwise = inputs == 1 and count == groups
    extra = conv.weight.size * (groups - 1)
    if groups == 1 or depthwise or extra > PRODUCTS_PER_GROUP * groups:
        return conv
    return dense(conv)


def dense(conv: Convolution) -> Convolution:
    """Return a convolution with its groups filled up with zeros."""
    count, inputs, *kernel = conv.weight.shape
    groups = conv.groups
    weight = np.zeros((groups, count // groups, groups, inputs, *kernel), dtype=np.int8)
    own = np.arange(groups)
    weight[own, :, own] = conv.weight.reshape(groups, count // groups, inputs, *kernel)
    return replace(conv, weight=weight.reshape(count, groups * inputs, *kernel), groups=1)


def selection(order: Sequence[int], channels: int) -> NDArray[np.int8]:
    """
    Return the weights of the 1x1 convolution that picks channels.

    :param order: the channels to pick.
    :param channels: how many there are.
    """
    weight = np.zeros((len(order), channels, 1, 1), dtype=np.int8)
    weight[np.arange(len(order)), list(order)] = 1
    return weight


def fold_moves(layers: Sequence[Layer], shapes: dict[str, Shape]) -> list[Layer]:
    """
    Let the readers of moved channels do the moving.

    A slice of a permutation becomes a permutation that leaves channels out. A 1x1 convolution
    reads what the permutation reads, with its weights moved instead. Whatever nobody reads any
    more is left out.

    :param shapes: (height, width, channels) of every tensor.
    :returns: layers in which a :class:`Permutation` may pick fewer channels than there are.
    """
    moves: dict[str, Permutation] = {}
    folded = []
    for layer in layers:
        move = moves.get(layer.sources[0])
        if move is not None:
            layer = _behind(move, layer, shapes[move.source][2])
        if isinstance(layer, Permutation):
            moves[layer.name] = layer
        folded.append(layer)
    read = {source for layer in folded for source in layer.sources}
    return [layer for layer in folded if layer.name not in moves or layer.name in read]


def _behind(move: Permutation, layer: Layer, channels: int) -> Layer:
    """Return a layer that reads the source of ``move`` instead, or the layer as it is."""
    match layer:
        case Permutation():
            order = tuple(move.order[channel] for channel in layer.order)
            return Permutation(layer.name, move.source, order)
        case Slice():
            return Permutation(layer.name, move.source, move.order[layer.start:layer.stop])
        case Convolution(groups=1) if layer.weight.shape[2:] == (1, 1):
            weight = np.zeros((len(layer.weight), channels, 1, 1), dtype=np.int8)
            weight[:, list(move.order)] = layer.weight
            return replace(layer, source=move.source, weight=weight)
        case _:
            return layer
