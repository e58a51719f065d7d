# SPDX-License-Identifier: Apache-2.0
"""
The default engine on a CPU: one pass over integer levels in ONNX Runtime.

All outputs are bound to arrays made once, so that a frame allocates nothing. With statistics, the
levels of every firing layer are outputs too; they are counted only when somebody asks, after the
detections have gone out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import prod
from typing import Any, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

from snn_detector_ros.engines.base import check_pixels
from snn_detector_ros.engines.integer_graph import CONTRIB, IntegerGraph, emit
from snn_detector_ros.engines.statistics import FiringStatistics
from snn_detector_ros.engines.stems import reads_blocks
from snn_detector_ros.engines.stored_levels import StoredLevels
from snn_detector_ros.errors import EngineError
from snn_detector_ros.native import space_to_depth
from snn_detector_ros.network import IMAGE, Shape, SpikingNetwork
from snn_detector_ros.network.qdq_writer import OPSET
from snn_detector_ros.network.validation import (
    check_shapes,
    require_separated,
    validate,
)

#: Bytes of a cache line.
ALIGNMENT = 64
#: A provider of ONNX Runtime, alone or with its options.
Provider: TypeAlias = str | tuple[str, dict[str, str]]
CPU_PROVIDER = 'CPUExecutionProvider'


class OnnxRuntimeEngine:
    """
    Runs a network in one pass.

    :param network: the network; is validated.
    :param input_size: (height, width) of the picture in px; the network's own if None.
    :param threads: threads of the runtime; 0 takes one per physical core.
    :param spinning: let idle threads spin: faster on a quiet machine, slower on a shared one.
    :param statistics: keep the levels of every layer, for :meth:`levels` and :meth:`firing`.
    :raises EngineError: if ONNX Runtime cannot run the network.
    """

    name = 'onnxruntime'

    def __init__(
        self,
        network: SpikingNetwork,
        *,
        input_size: tuple[int, int] | None = None,
        threads: int = 0,
        spinning: bool = False,
        statistics: bool = True,
    ) -> None:
        validate(network)
        require_separated(network, self.name)
        self.network = network
        self.input_size = input_size or network.input_size
        shapes = check_shapes(network, self.input_size)
        self._shape = shapes[IMAGE]
        self._fired = [conv.name for conv in network.convolutions
                       if conv.name in network.outputs and not conv.is_readout]
        self._blocks = reads_blocks(network, self.input_size)
        graph = self._emit([
            layer.name for layer in network.firing_layers
            if statistics or layer.name in self._fired])
        self._session = open_session(
            graph.model.SerializeToString(), threads=threads, spinning=spinning)
        self._binding = self._session.io_binding()
        self._pixels = np.zeros((1, *self._picture_shape()), dtype=np.uint8)
        self._bind_input()
        self._readouts = {name: np.zeros(shapes[name], np.int32) for name in network.outputs}
        for name, readout in self._readouts.items():
            if name not in self._fired:
                self._bind_output(name, readout)
        self._levels = StoredLevels(
            network, self.input_size, self._bind_levels(graph, shapes),
            {name: stored.slope for name, stored in graph.levels.items()}, statistics=statistics)

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.int32]]:
        check_pixels(pixels, self._shape)
        if self._blocks:
            space_to_depth(pixels, self._pixels)
        else:
            self._pixels[0] = pixels
        self._session.run_with_iobinding(self._binding)
        for name in self._fired:
            self._readouts[name][...] = self._levels.of(name)
        return self._readouts

    def levels(self) -> dict[str, NDArray[np.uint8] | NDArray[np.int8]]:
        return self._levels.levels()

    def firing(self) -> FiringStatistics:
        return self._levels.firing()

    def _emit(self, exposed: Iterable[str]) -> IntegerGraph:
        """Return the graph to run, with the levels of the exposed layers."""
        return emit(self.network, self.input_size, exposed, saturates=pairs_saturate())

    def _picture_shape(self) -> tuple[int, int, int]:
        height, width, channels = self._shape
        return (height // 2, width // 2, 4 * channels) if self._blocks else self._shape

    def _bind_input(self) -> None:
        self._binding.bind_input(IMAGE, 'cpu', 0, np.uint8, self._pixels.shape,
                                 self._pixels.ctypes.data)

    def _bind_output(self, name: str, array: NDArray[Any]) -> None:
        self._binding.bind_output(name, 'cpu', 0, array.dtype.type, (1, *array.shape),
                                  array.ctypes.data)

    def _bind_levels(
        self, graph: IntegerGraph, shapes: dict[str, Shape],
    ) -> dict[str, NDArray[np.uint8]]:
        """Bind the tensors of levels, and return that of each layer; layers may share one."""
        sizes = {stored.tensor: shapes[name] for name, stored in graph.levels.items()}
        tensors = dict(zip(sizes, _slab(list(sizes.values())), strict=True))
        for tensor, array in tensors.items():
            self._bind_output(tensor, array)
        return {name: tensors[stored.tensor] for name, stored in graph.levels.items()}


def _slab(shapes: list[Shape]) -> list[NDArray[np.uint8]]:
    """Return arrays of uint8 that lie one after the other, which saves the CPU page look-ups."""
    sizes = [-(-prod(shape) // ALIGNMENT) * ALIGNMENT for shape in shapes]
    memory = np.zeros(sum(sizes) + ALIGNMENT, dtype=np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    arrays = []
    for shape, size in zip(shapes, sizes, strict=True):
        arrays.append(memory[start:start + prod(shape)].reshape(shape))
        start += size
    return arrays


@lru_cache(maxsize=1)
def pairs_saturate() -> bool:
    """
    Whether the runtime adds products of bytes and int8 in saturating 16-bit pairs on this CPU.

    That goes wrong for large levels times large weights. Found out by running a convolution of
    worst-case operands, once per process.
    """
    inputs, outputs = 64, 16
    signs = np.where(np.arange(outputs) % 2, -1, 1)
    weight = np.full((outputs, inputs, 1, 1), 127, np.int8) * signs.astype(np.int8)[
        :, None, None, None]
    constants = {
        'one': np.float32(1), 'zero': np.uint8(0), 'middle': np.uint8(128), 'weight': weight,
        'scale': np.full(outputs, 1 / 32769, np.float32),  # 64 * 127 * 255 / 32769 = 63.25
        'zeros': np.zeros(outputs, np.int8), 'bias': np.zeros(outputs, np.int32)}
    node = helper.make_node(
        'QLinearConv', ['x', 'one', 'zero', 'weight', 'scale', 'zeros', 'one', 'middle', 'bias'],
        ['y'], domain=CONTRIB, channels_last=1, kernel_shape=[1, 1])
    graph = helper.make_graph(
        [node], 'probe',
        [helper.make_tensor_value_info('x', TensorProto.UINT8, [1, 4, 4, inputs])],
        [helper.make_tensor_value_info('y', TensorProto.UINT8, [1, 4, 4, outputs])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])
    model = helper.make_model(graph, ir_version=8, opset_imports=[
        helper.make_opsetid('', OPSET), helper.make_opsetid(CONTRIB, 1)])
    session = open_session(model.SerializeToString(), threads=1, spinning=False)
    result = session.run(None, {'x': np.full((1, 4, 4, inputs), 255, np.uint8)})[0]
    return bool((np.asarray(result) != 128 + 63 * signs).any())


def open_session(
    model: bytes, *, threads: int, spinning: bool, providers: Sequence[Provider] = (CPU_PROVIDER,),
) -> onnxruntime.InferenceSession:
    """
    Open a model in ONNX Runtime.

    :param threads: threads of the runtime; 0 takes one per physical core.
    :param spinning: let idle threads spin.
    :param providers: what runs the operators; the first that can run one does.
    :raises EngineError: if it cannot be run, or the first provider cannot be started.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry('session.intra_op.allow_spinning', str(int(spinning)))
    try:
        session = onnxruntime.InferenceSession(model, options, providers=list(providers))
    except Exception as error:  # ONNX Runtime has no public base class of its errors
        raise EngineError(f'ONNX Runtime cannot run the network: {error}') from error
    # A provider whose libraries are missing is left out without an error.
    wanted = provider_name(providers[0])
    if wanted not in session.get_providers():
        raise EngineError(f'ONNX Runtime could not start its {wanted}, whose libraries or device '
                          'it does not find; install what it needs, or choose the engine `auto`')
    return session


def provider_name(provider: Provider) -> str:
    """Return the name of a provider that may have options."""
    return provider if isinstance(provider, str) else provider[0]


def bound_array(value: ValueInfoProto, bind: Callable[..., None]) -> NDArray[Any]:
    """
    Make the array of a graph's input or output, in memory of the CPU, and bind it.

    :param value: with its type and all sides.
    :param bind: ``bind_input`` or ``bind_output`` of a session's binding.
    """
    tensor = value.type.tensor_type
    array = np.zeros([size.dim_value for size in tensor.shape.dim],
                     helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    bind(value.name, 'cpu', 0, array.dtype.type, array.shape, array.ctypes.data)
    return array
