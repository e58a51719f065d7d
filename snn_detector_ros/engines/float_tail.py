# SPDX-License-Identifier: Apache-2.0
"""The float part of a network that was converted with ``--head raw``, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from snn_detector_ros.errors import ModelFileError
from snn_detector_ros.network import RawHead


class FloatTail:
    """
    What follows the readouts.

    :param head: the head of the network.
    :raises ModelFileError: if it is damaged.
    """

    def __init__(self, head: RawHead) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            graph = onnx.load_model_from_string(head.tail).graph
            if any(map(onnx.external_data_helper.uses_external_data, graph.initializer)):
                raise ModelFileError('the float tail of the network points to another file')
            self._session = onnxruntime.InferenceSession(
                head.tail, options, providers=['CPUExecutionProvider'])
        except ModelFileError:
            raise
        except Exception as error:  # ONNX Runtime has no public base class of its errors
            raise ModelFileError(
                f'the float tail of the network cannot be run: {error}') from error
        self._head = head
        self._shapes = {value.name: value.shape for value in self._session.get_inputs()}
        if not self._shapes.keys() <= set(head.inputs.values()):
            raise ModelFileError('the float tail of the network reads more than its readouts: '
                                 'convert the float network again')

    @property
    def outputs(self) -> dict[str, str]:
        """Type and shape of each output, to be read by people."""
        return {value.name: f'{value.type} {value.shape}' for value in self._session.get_outputs()}

    def __call__(self, values: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
        """
        Return the outputs of the network.

        :param values: of each readout, float32 [h, w, C].
        """
        feeds = {}
        for readout, tensor in self._head.inputs.items():
            if tensor in self._shapes:
                one = values[readout].transpose(2, 0, 1).reshape(1, *self._shapes[tensor][1:])
                feeds[tensor] = np.ascontiguousarray(np.repeat(one, self._head.batch, axis=0))
        return dict(zip(self.outputs, self._session.run(None, feeds), strict=True))
