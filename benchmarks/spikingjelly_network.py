# SPDX-License-Identifier: Apache-2.0
"""
A spiking network as SpikingJelly runs it: integrate-and-fire neurons, T steps, multi-step mode.

It is the usual rate-coded conversion of the same float network: level Q becomes a neuron that fires
at every step, the threshold is 1, the reset is by subtraction, the picture is put in at every step,
and readouts are averaged over the steps. Importing this module needs torch and SpikingJelly.
"""

from __future__ import annotations

import numpy as np
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

from snn_detector_ros.network import (
    IMAGE,
    Add,
    Concat,
    Convolution,
    MaxPool,
    Slice,
    SpikingNetwork,
    Upsample,
)


class SpikingJellyNetwork(nn.Module):
    """
    A network of IF neurons of the shape of a spiking network; paddings must be symmetric.

    :param network: where shape, weights and thresholds come from.
    :param steps: time steps T.
    """

    def __init__(self, network: SpikingNetwork, *, steps: int) -> None:
        super().__init__()
        self._network = network
        self._steps = steps
        #: Names of layers may hold dots, names of modules must not.
        self._keys = {item.name: f'layer{index}' for index, item in enumerate(network.layers)}
        self._modules_of_layers = nn.ModuleDict()
        for item in network.layers:
            match item:
                case Convolution():
                    module = _convolution(item, network.code.max_level)
                case MaxPool():
                    module = layer.MaxPool2d(
                        item.kernel, item.stride, item.padding[:2], step_mode='m')
                case Upsample():
                    module = layer.Upsample(scale_factor=item.factor, step_mode='m')
                case _:
                    continue
            self._modules_of_layers[self._keys[item.name]] = module
        self.eval()

    def forward(self, picture: Tensor) -> list[Tensor]:
        """
        Run one picture.

        :param picture: float32 [1, 3, H, W], blue-green-red in 0..1.
        :returns: the readouts, float32 [1, C, h, w].
        """
        functional.reset_net(self)
        tensors = {IMAGE: picture.expand(self._steps, *picture.shape)}
        for item in self._network.layers:
            inputs = [tensors[source] for source in item.sources]
            match item:
                case Add():
                    tensors[item.name] = inputs[0] + inputs[1]
                case Concat():
                    tensors[item.name] = torch.cat(inputs, dim=2)
                case Slice():
                    tensors[item.name] = inputs[0][:, :, item.start:item.stop]
                case _:
                    tensors[item.name] = self._modules_of_layers[self._keys[item.name]](inputs[0])
        return [tensors[name].mean(dim=0) for name in self._network.outputs]


def _convolution(conv: Convolution, max_level: int) -> nn.Module:
    """
    Return synapses, and neurons where the convolution fires.

    With spikes ``s = q / Q``, a membrane of levels ``W q + b`` over ``theta`` is one of spikes with
    weights ``W / theta`` and bias ``b / (theta Q)``.
    """
    module = layer.Conv2d(
        conv.weight.shape[1] * conv.groups, len(conv.weight), conv.weight.shape[2:], conv.stride,
        conv.padding[:2], groups=conv.groups, step_mode='m')
    source_max = 255 if conv.source == IMAGE else max_level
    unit = conv.step if conv.threshold is None else 1 / (max_level * conv.threshold)
    weight = conv.weight.astype(np.float64) * (source_max * unit.reshape(-1, 1, 1, 1))
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(weight.astype(np.float32)))
        module.bias.copy_(torch.from_numpy((conv.bias * unit).astype(np.float32)))
    if conv.threshold is None:
        return module
    return nn.Sequential(module, neuron.IFNode(v_reset=None, step_mode='m'))
