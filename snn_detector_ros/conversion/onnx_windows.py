# SPDX-License-Identifier: Apache-2.0
"""Strides, padding and resize factors of ONNX nodes, with refusals of what has no equivalent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.conversion.onnx_graph import OnnxNode
from snn_detector_ros.network import Shape
from snn_detector_ros.network.validation import MAX_FACTOR, MAX_KERNEL

#: Position in the source of the centre of output pixel x, at a factor f and source length n.
_COORDINATES: dict[str, Callable[[NDArray[np.float64], int, int], NDArray[np.float64]]] = {
    'asymmetric': lambda x, f, n: x / f,
    'half_pixel': lambda x, f, n: (x + 0.5) / f - 0.5,
    'pytorch_half_pixel': lambda x, f, n: (x + 0.5) / f - 0.5,
    'align_corners': lambda x, f, n: x * (n - 1) / max(n * f - 1, 1),
}
_ROUNDINGS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    'round_prefer_floor': lambda x: np.ceil(x - 0.5),
    'round_prefer_ceil': lambda x: np.floor(x + 0.5),
    'floor': np.floor,
    'ceil': np.ceil,
}


def read_window(
    node: OnnxNode, kernel: tuple[int, ...], size: Shape, *, dilation: bool = False,
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int]]:
    """
    Read the sliding window of a Conv or a pool node.

    :param kernel: the spatial part of the kernel's shape, dilated.
    :param size: shape of the tensor that it slides over.
    :param dilation: whether the kernel may be dilated.
    :returns: kernel (height, width), stride, and padding (top, left, bottom, right).
    :raises ConversionError: if it is not two-dimensional, dilated, or depends on the picture size.
    """
    if len(kernel) != 2:
        raise node.error(f'kernel {kernel} is not two-dimensional')
    if not dilation and any(step != 1 for step in node.attributes.get('dilations', (1, 1))):
        raise node.error('dilation is not supported; train the layer without it')
    edges = (kernel[0], kernel[1])
    check_kernel(node, edges)
    strides = node.attributes.get('strides', (1, 1))
    stride = (int(strides[0]), int(strides[1]))
    padding = _read_padding(node, edges, stride, size)
    if node.attributes.get('ceil_mode', 0):
        padding = _round_up(node, edges, stride, padding, size)
    if min(padding) < 0:
        raise node.error(f'negative padding {padding} is not supported; crop outside the network')
    return edges, stride, padding


def check_kernel(node: OnnxNode, kernel: tuple[int, int]) -> None:
    """
    Refuse a window that is larger than the engines take.

    :param kernel: its height and width, dilated.
    """
    if max(kernel) > MAX_KERNEL:
        raise node.error(f'reads {kernel[0]}x{kernel[1]} px at once, at most {MAX_KERNEL} a side '
                         'are supported; use a smaller kernel or input size')


@dataclass(frozen=True)
class TransposedWindow:
    """
    One axis of a transposed convolution, as the window of an ordinary one.

    :param factor: pixels that each place makes.
    :param kernel: length of the transposed kernel.
    :param pad: pixels cut off at the beginning.
    :param length: places of the input.
    :param places: places of the output, ``factor`` pixels each.
    """

    factor: int
    kernel: int
    pad: int
    length: int
    places: int

    @property
    def before(self) -> int:
        """Zeros in front of the input."""
        return max(0, (self.kernel - 1 - self.pad) // self.factor)

    @property
    def size(self) -> int:
        """Length of the window."""
        return self.before + 1 + (self.factor - 1 + self.pad) // self.factor

    @property
    def after(self) -> int:
        """Zeros behind the input; negative if the window does not reach its end."""
        return self.places - 1 + self.size - self.before - self.length

    def taps(self, phase: int) -> list[tuple[int, int]]:
        """Return (place in the window, place in the kernel) of the weights of a pixel."""
        found = []
        for place in range(self.size):
            tap = phase + self.pad - self.factor * (place - self.before)
            if 0 <= tap < self.kernel:
                found.append((place, tap))
        return found


def read_transposed_window(
    node: OnnxNode, kernel: tuple[int, ...], size: tuple[int, int],
) -> tuple[int, tuple[TransposedWindow, TransposedWindow]]:
    """
    Read the window of a ConvTranspose node.

    :param kernel: height and width of the kernel, dilated.
    :param size: height and width of the tensor that it spreads.
    :returns: the stride, and the window of each axis.
    :raises ConversionError: if its output is no whole number of blocks of pixels.
    """
    strides = tuple(int(step) for step in node.attributes.get('strides', (1, 1)))
    if strides[0] != strides[1] or not 1 <= strides[0] <= MAX_FACTOR:
        raise node.error(f'strides {strides}: needs one for both axes, at most {MAX_FACTOR}')
    factor = strides[0]
    pads = [int(pad) for pad in node.attributes.get('pads', (0, 0, 0, 0))]
    extra = node.attributes.get('output_padding', (0, 0))
    wanted = node.attributes.get('output_shape')
    automatic = node.attributes.get('auto_pad', 'NOTSET')
    windows = []
    for axis in (0, 1):
        full = (size[axis] - 1) * factor + kernel[axis] + int(extra[axis])
        pad, length = pads[axis], full - pads[axis] - pads[axis + 2]
        if automatic in ('SAME_UPPER', 'SAME_LOWER') or wanted is not None:
            length = int(wanted[axis - 2]) if wanted is not None else size[axis] * factor
            cut = max(0, full - length)
            pad = cut // 2 if automatic == 'SAME_UPPER' else cut - cut // 2
        window = TransposedWindow(factor, kernel[axis], pad, size[axis], length // factor)
        if length % factor or window.after < 0 or pad < 0:
            raise node.error(f'makes {length} pixels of {size[axis]}; needs a multiple of its '
                             f'stride {factor} and no cropping')
        windows.append(window)
    return factor, (windows[0], windows[1])


def read_upsample_factor(
    node: OnnxNode, scales: NDArray[np.floating] | None, sizes: NDArray[np.integer] | None,
    size: Shape, batch: int,
) -> int:
    """
    Read a Resize or Upsample node that repeats each pixel a whole number of times.

    :param scales: factors along N, C, H, W, if given.
    :param sizes: target sizes along N, C, H, W, if given.
    :param size: shape of the tensor to be resized.
    :param batch: pictures in it.
    :raises ConversionError: if it does anything else.
    """
    mode = node.attributes.get('mode', 'nearest')
    if mode != 'nearest':
        raise node.error(f'mode `{mode}` mixes pixels; train with nearest-neighbour upsampling')
    height, width, channels = size
    if scales is not None and scales.size == 4:
        factors = scales.astype(np.float64)
    elif sizes is not None and sizes.size == 4:
        factors = sizes / np.array([batch, channels, height, width])
    else:
        raise node.error('scales or sizes of all four axes must be constants; '
                         'export with a fixed input size')
    factor = next((n for n in range(1, MAX_FACTOR + 1) if np.array_equal(factors, [1, 1, n, n])), 0)
    if not factor:
        raise node.error(f'factors {factors.tolist()}: height and width need one whole factor, '
                         f'at most {MAX_FACTOR}')
    # Upsample, and Resize of opset 10, have two inputs and no such attributes.
    is_old = len(node.inputs) <= 2
    coordinates = node.attributes.get(
        'coordinate_transformation_mode', 'asymmetric' if is_old else 'half_pixel')
    rounding = node.attributes.get('nearest_mode', 'floor' if is_old else 'round_prefer_floor')
    if not all(_copies(coordinates, rounding, factor, length) for length in (height, width)):
        raise node.error(f'{coordinates} with {rounding} does not repeat each pixel {factor} times;'
                         ' export nearest with asymmetric and floor')
    return factor


def _read_padding(
    node: OnnxNode, kernel: tuple[int, int], stride: tuple[int, int], size: Shape,
) -> tuple[int, int, int, int]:
    automatic = node.attributes.get('auto_pad', 'NOTSET')
    if automatic == 'NOTSET':
        top, left, bottom, right = node.attributes.get('pads', (0, 0, 0, 0))
        return top, left, bottom, right
    if automatic == 'VALID':
        return 0, 0, 0, 0
    if automatic not in ('SAME_UPPER', 'SAME_LOWER'):
        raise node.error(f'auto_pad={automatic} is unknown; export with explicit pads')
    if size[0] % stride[0] or size[1] % stride[1]:
        raise node.error(f'auto_pad={automatic} with stride {stride} on {size[:2]} px depends '
                         'on the picture size; export with explicit pads')
    total = [max(kernel[axis] - stride[axis], 0) for axis in (0, 1)]
    small, large = [pad // 2 for pad in total], [pad - pad // 2 for pad in total]
    first, last = (small, large) if automatic == 'SAME_UPPER' else (large, small)
    return first[0], first[1], last[0], last[1]


def _round_up(
    node: OnnxNode, kernel: tuple[int, int], stride: tuple[int, int],
    padding: tuple[int, int, int, int], size: Shape,
) -> tuple[int, int, int, int]:
    """Express ceil_mode as more padding below and at the right."""
    top, left, bottom, right = padding
    ends = []
    for axis, (before, after) in enumerate(((top, bottom), (left, right))):
        windows = -(-(size[axis] + before + after - kernel[axis]) // stride[axis])
        last = windows * stride[axis] - before
        if last >= size[axis]:
            raise node.error('ceil_mode adds a window that lies in the padding alone; '
                             'export with ceil_mode=0')
        ends.append(last + kernel[axis] - size[axis])
    return top, left, ends[0], ends[1]


def _copies(coordinates: str, rounding: str, factor: int, length: int) -> bool:
    """Whether output pixel x is source pixel x // factor, for all x."""
    if coordinates not in _COORDINATES or rounding not in _ROUNDINGS:
        return False
    output = np.arange(length * factor, dtype=np.float64)
    source = _ROUNDINGS[rounding](_COORDINATES[coordinates](output, factor, length))
    return bool(np.array_equal(np.clip(source, 0, length - 1), output // factor))
