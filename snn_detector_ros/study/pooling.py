# SPDX-License-Identifier: Apache-2.0
"""
What Spike-Maxpooling is for: the same network with pools that look at one time step at a time.

A pool that passes on, in each step, the largest spike of its window mixes the steps of different
neurons: the late spikes of a weak one are added to the early spikes of a strong one. For equal
weights nothing changes, since greedy spikes come first; for STDI the level becomes too large.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from snn_detector_ros.engines.integer_graph import CONTRIB, IntegerGraph, emit
from snn_detector_ros.engines.onnxruntime import OnnxRuntimeEngine
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.network import SpikeCode

POOL = 'NhwcMaxPool'


class StepwisePoolEngine(OnnxRuntimeEngine):
    """The engine of the other tables, whose max pools never decode: for unsigned networks."""

    name = 'stepwise-pools'

    def _emit(self, exposed: Iterable[str]) -> IntegerGraph:
        if self.network.signed_tensors:
            raise ConfigurationError('pools of single steps are studied on ReLU networks only; '
                                     f'{self.network.name!r} has signed spikes')
        graph = emit(self.network, self.input_size, exposed)
        pool_stepwise(graph.model, self.network.code)
        return graph


def pool_stepwise(model: ModelProto, code: SpikeCode) -> None:
    """
    Replace each max pool of levels by pools of the spikes of each step.

    The level that leaves is ``sum_t tau_t max(s_t)``, with the spikes ``s`` of the neurons in the
    window; like any level it is sent on as at most Q.

    :param model: an integer graph; changed in place.
    """
    levels = np.arange(256).clip(max=code.max_level)
    # What the spikes of a step are worth, for each byte: int [T, 256].
    worth = np.stack([weight * spikes for weight, spikes in zip(
        code.tau, code.digits(levels), strict=True)])
    for step, table in enumerate(worth):
        model.graph.initializer.append(
            numpy_helper.from_array(table.astype(np.uint8), _table(step)))
    model.graph.initializer.extend([
        numpy_helper.from_array(np.array(1, np.float32), 'stepwise/one'),
        numpy_helper.from_array(np.array(0, np.uint8), 'stepwise/zero')])
    nodes = [new for node in model.graph.node
             for new in (_stepwise(node, code.steps) if node.op_type == POOL else [node])]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _table(step: int) -> str:
    return f'stepwise/worth{step}'


def _stepwise(pool: NodeProto, steps: int) -> list[NodeProto]:
    """Return the nodes that pool each step by itself and add up what comes out."""
    name = pool.output[0]
    nodes = [helper.make_node('Cast', [pool.input[0]], [f'{name}/index'], to=TensorProto.INT32)]
    total = ''
    for step in range(steps):
        pooled = NodeProto()
        pooled.CopyFrom(pool)
        pooled.name = ''
        pooled.input[0], pooled.output[0] = f'{name}/step{step}', f'{name}/pooled{step}'
        nodes += [helper.make_node(
            'Gather', [_table(step), f'{name}/index'], [pooled.input[0]]), pooled]
        if total:
            unit = ['stepwise/one', 'stepwise/zero']
            output = f'{name}/sum{step}'
            nodes.append(helper.make_node(
                'QLinearAdd', [total, *unit, pooled.output[0], *unit, *unit], [output],
                domain=CONTRIB))
            total = output
        else:
            total = pooled.output[0]
    nodes[-1].output[0] = name
    return nodes
