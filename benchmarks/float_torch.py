# SPDX-License-Identifier: Apache-2.0
"""
A float network in torch, and frames of torch on a GPU between two events.

Importing this module needs torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from snn_detector_ros.conversion import FloatNetwork
from snn_detector_ros.conversion.float_network import FloatConvolution
from snn_detector_ros.network import (
    IMAGE,
    Add,
    Concat,
    DepthToSpace,
    MaxPool,
    Permutation,
    Rectifier,
    Slice,
    Upsample,
)

#: Frames before a graph is recorded, in which cuDNN tries its algorithms.
WARM_UP = 3


class TorchNetwork(nn.Module):
    """A float network, layer by layer as :func:`snn_detector_ros.conversion.to_onnx` writes it."""

    def __init__(self, network: FloatNetwork) -> None:
        super().__init__()
        self._network = network
        #: Names of layers may hold dots, names of modules must not.
        self._keys = {layer.name: f'layer{index}' for index, layer in enumerate(network.layers)}
        self._convolutions = nn.ModuleDict({
            self._keys[layer.name]: _convolution(layer) for layer in network.layers
            if isinstance(layer, FloatConvolution)})
        for layer in network.layers:
            if isinstance(layer, Permutation):
                self.register_buffer(self._keys[layer.name], torch.tensor(layer.order))
        self.eval().requires_grad_(False)

    def forward(self, picture: Tensor) -> list[Tensor]:
        """
        Run one picture.

        :param picture: float [1, 3, H, W], RGB in 0..1.
        :returns: the readouts, float [1, C, h, w].
        """
        tensors = {IMAGE: picture}
        for layer in self._network.layers:
            x = [tensors[source] for source in layer.sources]
            match layer:
                case FloatConvolution():
                    tensors[layer.name] = self._run_convolution(layer, x[0])
                case MaxPool():
                    tensors[layer.name] = _pool(layer, x[0])
                case Add():
                    tensors[layer.name] = x[0] + x[1]
                case Concat():
                    tensors[layer.name] = torch.cat(x, dim=1)
                case Upsample():
                    tensors[layer.name] = F.interpolate(x[0], scale_factor=float(layer.factor))
                case Slice():
                    tensors[layer.name] = x[0][:, layer.start:layer.stop]
                case Rectifier():
                    tensors[layer.name] = F.leaky_relu(x[0], layer.slope)
                case Permutation():
                    tensors[layer.name] = x[0].index_select(
                        1, self.get_buffer(self._keys[layer.name]))
                case DepthToSpace():
                    tensors[layer.name] = _depth_to_space(x[0], layer.factor)
        return [tensors[name] for name in self._network.outputs]

    def _run_convolution(self, layer: FloatConvolution, x: Tensor) -> Tensor:
        if not _is_symmetric(layer.padding):
            x = F.pad(x, _sides(layer.padding))
        result = self._convolutions[self._keys[layer.name]](x)
        if math.isfinite(layer.cap):
            return result.clamp_(0, layer.cap)
        if layer.slope == 1:
            return result
        return F.leaky_relu_(result, layer.slope) if layer.slope else F.relu_(result)


class GraphedNetwork:
    """
    A network in fp16, channels last, on the GPU: upload, layers and download in one CUDA graph.

    :param network: the network.
    :param pixels: uint8 [H, W, 3], blue-green-red: the picture of every frame.
    """

    def __init__(self, network: FloatNetwork, pixels: NDArray[np.uint8]) -> None:
        torch.backends.cudnn.benchmark = True
        self._module = TorchNetwork(network).half().cuda().to(memory_format=torch.channels_last)
        self._picture = torch.from_numpy(pixels[..., ::-1].copy()).pin_memory()
        self._graph = torch.cuda.CUDAGraph()
        with torch.inference_mode():
            side = torch.cuda.Stream()
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    readouts = self._layers()
                # Of the same strides as on the GPU, so that a download is one copy.
                self._results = [torch.empty_like(value, device='cpu').pin_memory()
                                 for value in readouts]
            torch.cuda.synchronize()
            with torch.cuda.graph(self._graph):
                for result, value in zip(self._results, self._layers(), strict=True):
                    result.copy_(value, non_blocking=True)

    def run(self) -> None:
        """Launch the graph."""
        self._graph.replay()

    def _layers(self) -> list[Tensor]:
        uploaded = self._picture.cuda(non_blocking=True)
        readouts: list[Tensor] = self._module(uploaded.permute(2, 0, 1)[None].half() / 255)
        return readouts


def timed(frame: Callable[[], object]) -> Callable[[], float]:
    """Return a function that runs a frame, waits, and returns how long the GPU took, ms."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def run() -> float:
        start.record()
        frame()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))

    return run


def _convolution(layer: FloatConvolution) -> nn.Conv2d:
    """Return a convolution; padding that is not symmetric is added before it."""
    padding = layer.padding[:2] if _is_symmetric(layer.padding) else 0
    module = nn.Conv2d(layer.weight.shape[1] * layer.groups, len(layer.weight), layer.kernel,
                       layer.stride, padding, groups=layer.groups)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(layer.weight))
        module.bias.copy_(torch.from_numpy(layer.bias))
    return module


def _pool(layer: MaxPool, x: Tensor) -> Tensor:
    """Pool; torch itself takes padding up to half a window only."""
    top, left, _, _ = layer.padding
    if _is_symmetric(layer.padding) and 2 * top <= layer.kernel[0] and 2 * left <= layer.kernel[1]:
        return F.max_pool2d(x, layer.kernel, layer.stride, (top, left))
    return F.max_pool2d(
        F.pad(x, _sides(layer.padding), value=-math.inf), layer.kernel, layer.stride)


def _depth_to_space(x: Tensor, factor: int) -> Tensor:
    count, channels, height, width = x.shape
    channels //= factor**2
    blocks = x.reshape(count, factor, factor, channels, height, width)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(
        count, channels, height * factor, width * factor)


def _is_symmetric(padding: Sequence[int]) -> bool:
    top, left, bottom, right = padding
    return (top, left) == (bottom, right)


def _sides(padding: Sequence[int]) -> tuple[int, int, int, int]:
    """Return a padding in torch's order: left, right, top, bottom."""
    top, left, bottom, right = padding
    return left, right, top, bottom
