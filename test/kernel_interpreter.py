# SPDX-License-Identifier: Apache-2.0
"""Runs the plan of a GPU engine in Triton's interpreter, on the processor's memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from triton.runtime import interpreter

from snn_detector_ros.engines.gpu.parameters import DTYPES, type_of
from snn_detector_ros.engines.gpu.plan import COUNTS, NOTHING, SLACK, SOURCE, Plan, Pointer
from snn_detector_ros.engines.triton.kernels import KERNELS

# Half of the interpreter's time would go into checks for overflow, which no level comes near.
interpreter.interpreter_builder.options = interpreter.InterpreterOptions(sanitize_overflow=False)


class InterpretedSession:
    """
    A session of the engine without a GPU.

    Memory that nobody has written holds noise, so that a kernel which reads too much, or writes too
    little, is noticed.
    """

    def __init__(self, plan: Plan, downloads: Sequence[str]) -> None:
        self._plan = plan
        noise = np.random.default_rng(0)
        self._memory = {
            name: torch.from_numpy(noise.integers(-128, 128, size + SLACK, dtype=np.int8))
            for name, size in plan.buffers.items()}
        for name, values in plan.constants.items():
            self._bytes(name)[:] = values.reshape(-1).view(np.int8)
        self.source = self._bytes(SOURCE).view(np.uint8)
        self.results: dict[str, NDArray[np.int8]] = {name: self._bytes(name) for name in downloads}

    def run(self) -> None:
        self._bytes(COUNTS)[:] = 0
        for launch in self._plan.launches:
            function, constants = KERNELS[launch.spec.kernel], dict(launch.spec.constants)
            function[launch.grid](*(
                constants[name] if name in constants else self._argument(name, launch.arguments)
                for name in function.arg_names))

    def close(self) -> None:
        self._memory.clear()

    def _bytes(self, name: str) -> NDArray[np.int8]:
        return self._memory[name].numpy()[:self._plan.buffers[name]]

    def _argument(self, name: str, arguments: Mapping[str, Any]) -> Any:
        kind = type_of(name)
        if not kind.startswith('*'):
            return arguments.get(name, 0)
        pointer = arguments.get(name, Pointer(NOTHING))
        dtype = torch.from_numpy(np.zeros(1, DTYPES[kind[1:]])).dtype
        return self._memory[pointer.buffer][pointer.offset:].view(dtype)
