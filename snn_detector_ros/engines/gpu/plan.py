# SPDX-License-Identifier: Apache-2.0
"""
A frame on a GPU, as data: memory, constants, and the launches that use them.

A plan knows no driver and no compiler. Whoever runs it gives each buffer an address, each kernel
its machine code, and launches one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.network import Shape

#: Buffers that are no layers, whose names have no slash.
SOURCE, COUNTS, TAU, NOTHING = '/source', '/counts', '/tau', '/nothing'
#: Bytes behind each buffer that a kernel may read, since it takes whole blocks of channels.
SLACK = 128


@dataclass(frozen=True)
class Pointer:
    """
    An address in a buffer.

    :param buffer: its name.
    :param offset: bytes from its start.
    """

    buffer: str
    offset: int = 0


#: What a kernel is given at launch.
Argument: TypeAlias = Pointer | int | float


@dataclass(frozen=True)
class KernelSpec:
    """
    A kernel as it is compiled; a network needs few different ones.

    :param kernel: ``convolution``, ``relay``, ``pooling`` or ``letterbox``.
    :param constants: what is fixed when it is compiled, by name.
    :param warps: of a block.
    :param stages: of the software pipeline.
    """

    kernel: str
    constants: tuple[tuple[str, int | bool], ...]
    warps: int = 4
    stages: int = 1

    @property
    def name(self) -> str:
        """Name that tells all of it, for files and tables."""
        values = '_'.join(f'{name.lower()}{int(value)}' for name, value in self.constants)
        return f'{self.kernel}_{values}_w{self.warps}s{self.stages}'


@dataclass(frozen=True)
class Launch:
    """
    One kernel on one grid.

    :param layers: the layers that it computes.
    :param grid: blocks in each of two directions.
    :param arguments: by name; every parameter of the kernel that is no constant.
    :param products: multiply-accumulates.
    :param traffic: bytes read and written, if each is moved once.
    """

    spec: KernelSpec
    layers: tuple[str, ...]
    grid: tuple[int, int]
    arguments: Mapping[str, Argument]
    products: int = 0
    traffic: int = 0


@dataclass(frozen=True)
class View:
    """
    Where the levels of a layer lie: int8, channels last, in a buffer that others may share.

    :param pitch: bytes from one pixel to the next.
    :param positions: byte of each channel within a pixel, int64 [C].
    :param shape: (height, width, channels).
    """

    buffer: str
    pitch: int
    positions: NDArray[np.int64]
    shape: Shape

    @property
    def first(self) -> int:
        """Byte of the first channel."""
        return int(self.positions[0])

    @property
    def is_contiguous(self) -> bool:
        """Whether the channels lie one after the other."""
        return bool((np.diff(self.positions) == 1).all())

    def gather(self, memory: NDArray[np.int8]) -> NDArray[np.int8]:
        """Return the levels [h, w, C] in the bytes of the whole buffer."""
        height, width, _ = self.shape
        pixels = memory[:height * width * self.pitch].reshape(height, width, self.pitch)
        return pixels[..., self.positions]


@dataclass
class Plan:
    """
    Everything that one network at one input size does in a frame.

    :param picture: (height, width, channels) of the picture, uint8 in the buffer ``picture``.
    :param buffers: bytes of each buffer.
    :param constants: contents of the buffers that never change.
    :param launches: in order.
    :param readouts: (height, width, channels) of the int32 buffer of each readout.
    :param views: where the levels of layers lie; those of fused layers may be nowhere.
    :param counts: (steps, columns) of the int32 buffer ``counts``, zero before a frame.
    :param columns: which columns of the counts belong to a layer.
    """

    picture: Shape
    buffers: dict[str, int] = field(default_factory=dict)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    launches: list[Launch] = field(default_factory=list)
    readouts: dict[str, Shape] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    counts: tuple[int, int] = (0, 0)
    columns: dict[str, slice] = field(default_factory=dict)

    @property
    def specs(self) -> tuple[KernelSpec, ...]:
        """The kernels that it needs, each once."""
        return tuple(dict.fromkeys(launch.spec for launch in self.launches))

    def constant(self, name: str, values: NDArray[Any]) -> Pointer:
        """Add a buffer that holds values."""
        self.constants[name] = np.ascontiguousarray(values)
        self.buffers[name] = values.nbytes
        return Pointer(name)
