# SPDX-License-Identifier: Apache-2.0
"""An ONNX model in ONNX Runtime or OpenVINO, ready to run one frame after the other."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

from snn_detector_ros.engines.onnxruntime import CPU_PROVIDER, Provider, open_session

_DTYPES = {'tensor(float)': np.float32, 'tensor(uint8)': np.uint8, 'tensor(int32)': np.int32}


class OnnxRuntimeSession:
    """
    A model in ONNX Runtime, with input and outputs bound once, in the processor's memory.

    :param feed: the input of every frame, by name.
    :param spinning: let idle threads spin.
    :param providers: what runs the operators, best first.
    :raises EngineError: if the first provider cannot be started.
    """

    def __init__(
        self, model: ModelProto, feed: dict[str, NDArray[Any]], *, threads: int,
        spinning: bool = False, providers: Sequence[Provider] = (CPU_PROVIDER,),
    ) -> None:
        self._session = open_session(
            model.SerializeToString(), threads=threads, spinning=spinning, providers=providers)
        self._binding = self._session.io_binding()
        for name, array in feed.items():
            self._binding.bind_cpu_input(name, array)
        self._outputs = {}
        for output in self._session.get_outputs():
            value = onnxruntime.OrtValue.ortvalue_from_numpy(
                np.zeros(output.shape, dtype=_DTYPES[output.type]))
            self._binding.bind_ortvalue_output(output.name, value)
            self._outputs[output.name] = value

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)

    def output(self, name: str) -> NDArray[Any]:
        """Return an output of the last frame."""
        return np.asarray(self._outputs[name].numpy())


class OpenVinoSession:
    """
    A model in OpenVINO on the CPU, set for latency.

    Float parts are computed in fp32: by default, OpenVINO takes bf16 where the CPU has it.

    :param feed: the input of every frame, by name.
    :raises ImportError: if OpenVINO is not installed.
    """

    def __init__(
        self, model: ModelProto, feed: dict[str, NDArray[Any]], *, threads: int,
    ) -> None:
        import openvino

        core = openvino.Core()
        compiled = core.compile_model(
            core.read_model(BytesIO(model.SerializeToString())), 'CPU', {
                'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_NUM_THREADS': threads,
                'INFERENCE_PRECISION_HINT': 'f32'})
        self._request = compiled.create_infer_request()
        for name, array in feed.items():
            self._request.set_tensor(name, openvino.Tensor(array, shared_memory=True))

    def run(self) -> None:
        self._request.infer()

    def output(self, name: str) -> NDArray[Any]:
        """Return an output of the last frame."""
        return np.asarray(self._request.get_tensor(name).data)
