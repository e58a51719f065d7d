# SPDX-License-Identifier: Apache-2.0
"""What all writers of ONNX graphs share: nodes and constants, collected in order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from onnx import NodeProto, TensorProto, helper, numpy_helper

from snn_detector_ros.network.layers import Slice, Upsample


class GraphWriter:
    """
    Collects the nodes and constants of a graph; writers of layers build on it.

    :param channel_axis: 1 for tensors [N, C, H, W], 3 for [N, H, W, C].
    """

    def __init__(self, channel_axis: int) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._channel_axis = channel_axis

    def _node(
        self, operator: str, inputs: list[str], output: str, *, domain: str = '', **attributes: Any,
    ) -> str:
        """Add a node, called like its output, and return that."""
        self.nodes.append(helper.make_node(
            operator, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def _constant(self, name: str, value: ArrayLike) -> str:
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _slice(self, layer: Slice, source: str) -> None:
        bounds = [self._constant(f'{layer.name}/{key}', np.array([value], dtype=np.int64))
                  for key, value in (('start', layer.start), ('stop', layer.stop),
                                     ('axis', self._channel_axis))]
        self._node('Slice', [source, *bounds], layer.name)

    def _nearest(self, layer: Upsample) -> None:
        """Copy each cell of a tensor [N, C, H, W]."""
        scales = np.array([1, 1, layer.factor, layer.factor], dtype=np.float32)
        self._node('Resize', [layer.source, '', self._constant(f'{layer.name}/scales', scales)],
                   layer.name, mode='nearest', nearest_mode='floor',
                   coordinate_transformation_mode='asymmetric')
