# SPDX-License-Identifier: Apache-2.0
"""Turn the modules of trained spiking networks into layers as plain data."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import nn

from snn_detector_ros.network import (
    IMAGE,
    Add,
    Concat,
    Lif,
    MaxPool,
    SiluMembrane,
    Synapses,
)
from snn_detector_ros.network.lif_layers import LifLayer
from snn_detector_ros.training.spiking import lif
from snn_detector_ros.training.spiking.blocks import ConcatShortcut, ResidualBlock, SiluConv
from snn_detector_ros.training.spiking.resnet import SpikingBlock
from snn_detector_ros.training.spiking.tdbn import PerStep

#: Adds the layers of a module; takes it, their name and their input, and returns their output.
Exporter: TypeAlias = Callable[[Any, str, str], str]


class LayerExport:
    """
    Collects layers; modules come in the order of execution, with folded normalisations.

    Neurons of the same currents are the same neurons: they become one layer.
    """

    def __init__(self) -> None:
        #: What has been collected.
        self.layers: list[LifLayer] = []
        self._neurons: dict[tuple[str, lif.LifParameters], str] = {}
        self._exporters: dict[type[nn.Module], Exporter] = {
            nn.Identity: lambda module, name, source: source,
            nn.Conv2d: self.synapses,
            nn.MaxPool2d: self._max_pool,
            lif.Lif: self._lif,
            SiluConv: self._silu,
            ConcatShortcut: self._concat_shortcut,
            ResidualBlock: self._block,
            SpikingBlock: self._spiking_block,
        }

    def put(self, layer: LifLayer) -> str:
        """Add a layer, and return its name."""
        self.layers.append(layer)
        return layer.name

    def add(self, module: nn.Module, name: str, source: str) -> str:
        """
        Add all layers of a module.

        :param module: one of the building blocks of spiking networks.
        :param name: first part of the layers' names.
        :param source: the layer that it reads.
        :returns: the layer that holds its result.
        """
        if type(module) in self._exporters:
            return self._exporters[type(module)](module, name, source)
        assert isinstance(module, nn.Sequential), type(module)
        for key, part in module.named_children():
            is_wrapper = isinstance(module, PerStep) and len(module) == 1
            source = self.add(part, name if is_wrapper else f'{name}.{key}', source)
        return source

    def synapses(
            self, module: nn.Conv2d, name: str, source: str,
            weight: NDArray[np.floating] | None = None) -> str:
        """Add a convolution, with its own weights if no others are given."""
        assert module.bias is not None and isinstance(module.padding, tuple)
        height, width = module.stride
        top, left = module.padding
        values = module.weight.detach().numpy() if weight is None else weight
        return self.put(Synapses(
            name, source, np.array(values, np.float32, order='C'),
            module.bias.detach().numpy().copy(), (height, width), (top, left, top, left),
            module.groups))

    def stem(self, module: nn.Conv2d, *, scale: ArrayLike) -> str:
        """
        Add the first convolution, which is to read bytes of blue, green, red.

        :param module: reads red, green, blue.
        :param scale: what a byte, of each colour, is divided by.
        """
        weight = module.weight.detach().double().numpy() / np.reshape(scale, (1, -1, 1, 1))
        return self.synapses(module, 'stem', IMAGE, weight[:, ::-1])

    def grey_stem(self, module: nn.Conv2d, *, scale: float) -> str:
        """
        Add the first convolution, which is to read bytes of a single channel.

        :param module: reads the same values in all its channels.
        :param scale: what a byte is divided by.
        """
        weight = module.weight.detach().double().numpy().sum(axis=1, keepdims=True)
        return self.synapses(module, 'stem', IMAGE, weight / scale)

    def _max_pool(self, module: nn.MaxPool2d, name: str, source: str) -> str:
        side = module.kernel_size
        assert isinstance(side, int) and module.stride == side and module.padding == 0
        return self.put(MaxPool(f'{name}.pool', source, (side, side), (side, side)))

    def _lif(self, module: lif.Lif, name: str, source: str) -> str:
        key = source, module.neuron
        if key not in self._neurons:
            self._neurons[key] = self.put(
                Lif(name, source, module.neuron.decay, module.neuron.threshold))
        return self._neurons[key]

    def _silu(self, module: SiluConv, name: str, source: str) -> str:
        current = self.add(module.current, f'{name}.current', source)
        return self.put(SiluMembrane(name, current, module.decay))

    def _concat_shortcut(self, module: ConcatShortcut, name: str, source: str) -> str:
        grown = self.add(module.grow, f'{name}.grow', source)
        return self.add(
            module.pool, name, self.put(Concat(f'{name}.joined', (grown, source))))

    def _block(self, module: ResidualBlock, name: str, source: str) -> str:
        residual = self.add(module.residual, f'{name}.residual', source)
        shortcut = self.add(module.shortcut, f'{name}.shortcut', source)
        return self.put(Add(f'{name}.sum', (residual, shortcut)))

    def _spiking_block(self, module: SpikingBlock, name: str, source: str) -> str:
        total = self._block(module, name, source)
        return self.add(module.activation, f'{name}.activation', total)
