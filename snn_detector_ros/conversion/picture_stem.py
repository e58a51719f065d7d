# SPDX-License-Identifier: Apache-2.0
"""
Fold what happens to the picture before the first convolution into that convolution.

Channels in another order, normalisation, and pixels that became channels (the Focus layer of
YOLOv5, space-to-depth) are linear, so weights of another shape do the same on the picture itself.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.conversion.float_network import FloatConvolution
from snn_detector_ros.conversion.onnx_graph import OnnxNode
from snn_detector_ros.conversion.picture_format import PictureFormat
from snn_detector_ros.conversion.tensor_view import View
from snn_detector_ros.network import IMAGE


def picture_view(
    shape: tuple[int, int, int, int], channel_axis: int, picture: PictureFormat,
) -> View:
    """
    Return the input of a network as a view of the picture, which is RGB in 0..1.

    :param shape: (batch, 3, height, width) of the picture.
    :param channel_axis: 1, or 3 for a network that takes [N, H, W, C].
    """
    view = View(IMAGE, shape)
    numbers = view.numbers[:, ::-1] if picture.colour == 'bgr' else view.numbers
    gain, shift = (np.broadcast_to(values[:, None, None], shape)
                   for values in (picture.gain, picture.shift))
    return replace(
        view, index=np.moveaxis(numbers, 1, channel_axis),
        gain=np.moveaxis(gain, 1, channel_axis), shift=np.moveaxis(shift, 1, channel_axis))


def fold_picture(node: OnnxNode, conv: FloatConvolution, view: View) -> FloatConvolution:
    """
    Return the convolution that reads the picture itself.

    :param conv: the convolution that reads the view; its padding is that of the view included.
    :raises ConversionError: if the view is more than a linear rearrangement of pixels.
    """
    planes = view.planes
    if planes is None:
        raise node.error('the picture is cut or rearranged in front of it in a way that no '
                         'convolution can take over; prepare it outside')
    if conv.groups != 1:
        conv = _ungrouped(conv)
    gains, shifts = (array.reshape(*view.shape[:2], -1)[0] for array in _affine(view))
    if np.ptp(gains, axis=1).any() or np.ptp(shifts, axis=1).any():
        raise node.error('the picture is normalised by other numbers at each pixel')
    weight = conv.weight.astype(np.float64)
    bias = conv.bias + np.einsum('oihw,i->o', weight, shifts[:, 0])
    top, left, bottom, right = conv.padding
    factor, (outputs, _, height, width) = planes.factor, weight.shape
    folded = np.zeros((outputs, view.source[1], height * factor, width * factor))
    for plane, (channel, (row, column)) in enumerate(
            zip(planes.channel, planes.offsets, strict=True)):
        folded[:, channel, row::factor, column::factor] += weight[:, plane] * gains[plane, 0]
    return replace(
        conv, source=IMAGE, weight=folded.astype(np.float32), bias=bias.astype(np.float32),
        stride=(conv.stride[0] * factor, conv.stride[1] * factor),
        padding=(top * factor, left * factor, bottom * factor, right * factor), groups=1)


def _affine(view: View) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    assert view.gain is not None and view.shift is not None
    return view.gain, view.shift


def _ungrouped(conv: FloatConvolution) -> FloatConvolution:
    """Write the groups as zeros in dense weights: the stem mixes all colours."""
    outputs, inputs, *kernel = conv.weight.shape
    weight = np.zeros((outputs, inputs * conv.groups, *kernel), np.float32)
    for group in range(conv.groups):
        rows = slice(group * outputs // conv.groups, (group + 1) * outputs // conv.groups)
        weight[rows, group * inputs:(group + 1) * inputs] = conv.weight[rows]
    return replace(conv, weight=weight, groups=1)
