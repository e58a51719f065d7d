# SPDX-License-Identifier: Apache-2.0
"""The layers that copy channels and pixels to where an ONNX tensor has them."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.conversion.float_network import FloatConvolution, FloatLayer
from snn_detector_ros.conversion.tensor_view import NO_PADDING, Planes, View
from snn_detector_ros.network import Concat, DepthToSpace, Permutation, Slice


def layers_of_view(view: View, signed: bool) -> list[FloatLayer] | None:
    """
    Return the layers that make a tensor, without its padding, from the layer that it is a view of.

    The same copy always gets the same name, so whoever needs it again can reuse it.

    :param signed: whether the layer may be negative.
    :returns: layers in order, the last of which is the tensor; None if the view is no map.
    """
    channels = view.source[1]
    planes = view.planes
    if planes is not None and planes.factor == 1:
        return _select(view.layer, channels, planes.channel)
    if planes is not None:
        return _space_to_depth(view.layer, channels, planes, signed)
    blocks = view.depth_to_space
    if blocks is None:
        return None
    factor, order = blocks
    layers = _select(view.layer, channels, order)
    source = layers[-1].name if layers else view.layer
    return [*layers, DepthToSpace(f'{source}.pixels', source, factor)]


def relay(
    name: str, source: str, channels: int, slope: float,
    padding: tuple[int, int, int, int] = NO_PADDING,
) -> FloatConvolution:
    """
    Return neurons that pass each channel on, through one synapse of weight one.

    :param slope: 0 where nothing is negative, 1 elsewhere.
    :param padding: zeros to put around the map.
    """
    return FloatConvolution(
        name, source, np.ones((channels, 1, 1, 1), np.float32), np.zeros(channels, np.float32),
        slope, padding=padding, groups=channels)


def _select(source: str, channels: int, order: NDArray[np.int64]) -> list[FloatLayer]:
    """Return layers that copy channels ``order`` of a source of so many channels."""
    first, count = int(order[0]), len(order)
    if np.array_equal(order, np.arange(channels)):
        return []
    if np.array_equal(order, np.arange(first, first + count)):
        return [Slice(f'{source}.{first}-{first + count}', source, first, first + count)]
    if len(set(order.tolist())) < count:
        runs = np.split(order, np.flatnonzero(np.diff(order) != 1) + 1)
        parts = [_select(source, channels, run) for run in runs]
        names = tuple(part[-1].name if part else source for part in parts)
        return [*dict.fromkeys(layer for part in parts for layer in part),
                Concat(f'{source}.copies{_digest(order)}', names)]
    # Channels that are left over are sorted to the end, or, if that makes an order that begins with
    # channel 0, to the front: the two halves of a shuffle then share one permutation.
    rest = np.setdiff1d(np.arange(channels), order)
    whole = np.concatenate([rest, order] if 0 in rest else [order, rest])
    shuffled = Permutation(
        f'{source}.shuffled{_digest(whole)}', source, tuple(int(index) for index in whole))
    if not len(rest):
        return [shuffled]
    start = len(rest) if 0 in rest else 0
    return [shuffled, Slice(
        f'{shuffled.name}.{start}-{start + count}', shuffled.name, start, start + count)]


def _space_to_depth(
    source: str, channels: int, planes: Planes, signed: bool,
) -> list[FloatLayer]:
    """Let a relay neuron for each pixel of a block copy it, then sort them."""
    factor = planes.factor
    weight = np.zeros((channels, factor**2, 1, factor, factor), np.float32)
    for place in range(factor**2):
        weight[:, place, 0, place // factor, place % factor] = 1
    relay = FloatConvolution(
        f'{source}.blocks', source, weight.reshape(-1, 1, factor, factor),
        np.zeros(channels * factor**2, np.float32), 1.0 if signed else 0.0, (factor, factor),
        groups=channels)
    order = planes.channel * factor**2 + planes.offsets[:, 0] * factor + planes.offsets[:, 1]
    return [relay, *_select(relay.name, channels * factor**2, order)]


def _digest(order: NDArray[np.int64]) -> str:
    """Return a short name of an order of channels."""
    return hashlib.sha256(order.astype(np.int64).tobytes()).hexdigest()[:6]
