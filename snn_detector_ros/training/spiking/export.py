# SPDX-License-Identifier: Apache-2.0
"""
Turn a trained spiking network into the data that the runtime reads.

Normalisations are folded, and the scale of pixels goes into the first convolution. Neurons that see
the same currents twice (the residual branch and the shortcut of a block) become one layer.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.network import (
    Concat,
    HeadLevel,
    LifNetwork,
    Mean,
    Synapses,
    Upsample,
    YoloV5Head,
)
from snn_detector_ros.network.lif_validation import validate_lif
from snn_detector_ros.training.head import strides
from snn_detector_ros.training.spiking.classification import DEVIATION, MEAN
from snn_detector_ros.training.spiking.ems_yolo import NO_EVENT, EmsYolo
from snn_detector_ros.training.spiking.layer_export import LayerExport
from snn_detector_ros.training.spiking.resnet import SpikingResNet
from snn_detector_ros.training.spiking.tdbn import folded


def export_ems_yolo(
        model: EmsYolo, *, name: str, class_names: Sequence[str], input_size: tuple[int, int],
        bins: int | None = None, provenance: Mapping[str, str] | None = None) -> LifNetwork:
    """
    Export a detector.

    :param model: the detector; it is left as it is.
    :param name: short name for logs and messages.
    :param class_names: names of the classes, by index.
    :param input_size: height and width of the input in px, multiples of 32.
    :param bins: T of a network that reads bins of events; None for one that reads pictures.
    :param provenance: where the weights come from, for the reader.
    :returns: the network; one of events reads a single channel.
    :raises ConfigurationError: if ``bins`` does not go with the network.
    :raises NetworkError: if the sizes do not fit.
    """
    if (bins is None) != (model.steps is not None):
        raise ConfigurationError(
            f'bins {bins}: a network that reads '
            + ('bins of events needs their number' if bins is None else 'pictures has none'))
    plain = folded(model)
    layers = LayerExport()
    stem = layers.stem(plain.stem[0], scale=255.0) if bins is None \
        else layers.grey_stem(plain.stem[0], scale=127.5)
    p3 = layers.add(plain.to_p3, 'to_p3', stem)
    p4 = layers.add(plain.to_p4, 'to_p4', p3)
    neck = layers.add(plain.neck, 'neck', layers.add(plain.to_p5, 'to_p5', p4))

    def merged(scale: int, lateral: nn.Module, end: nn.Module, deep: str, skip: str) -> str:
        side = layers.put(Upsample(f'up{scale}', layers.add(lateral, f'lateral{scale}', deep)))
        joined = layers.put(Concat(f'joined{scale}', (side, skip)))
        return layers.add(end, f'out{scale}', joined)

    n4 = merged(4, plain.lateral4, plain.out4, neck, p4)
    features = [n4, layers.add(plain.out5, 'out5', neck)]
    if plain.size.levels == 3:
        features.insert(0, merged(3, plain.lateral3, plain.out3, n4, p3))
    levels = []
    for stride, feature, layer, anchors in zip(
            strides(plain.size.levels), features, plain.head.m, plain.head.anchors.tolist(),
            strict=True):
        mean = layers.put(Mean(f'mean{stride}', feature))
        readout = layers.synapses(layer, f'detect{stride}', mean)
        levels.append(HeadLevel(readout, stride, tuple((w, h) for w, h in anchors)))
    network = LifNetwork(
        name=name, steps=bins or model.steps or 1, coding='repeated' if bins is None else 'binned',
        neutral=(0.0, 0.0, 0.0) if bins is None else (255 * NO_EVENT,), input_size=input_size,
        layers=tuple(layers.layers), outputs=tuple(level.readout for level in levels),
        head=YoloV5Head(tuple(levels)), class_names=tuple(class_names),
        provenance=dict(provenance or {}))
    validate_lif(network)
    return network


def export_classifier(
        model: SpikingResNet, *, name: str, class_names: Sequence[str],
        input_size: tuple[int, int], provenance: Mapping[str, str] | None = None) -> LifNetwork:
    """
    Export a classifier; its readout ``logits`` is a map of one cell.

    :param model: the spiking network; it is left as it is.
    :param name: short name for logs and messages.
    :param class_names: names of the classes, by index.
    :param input_size: height and width of the pictures in px.
    :param provenance: where the weights come from, for the reader.
    :raises NetworkError: if the sizes do not fit.
    """
    plain = folded(model)
    layers = LayerExport()
    stem = layers.stem(plain.encode[0], scale=255 * np.asarray(DEVIATION))
    pooled = layers.put(Mean('mean', layers.add(plain.blocks, 'blocks', stem), over_map=True))
    weight, bias = plain.decode.weight.detach().numpy(), plain.decode.bias.detach().numpy()
    layers.put(Synapses('logits', pooled, weight[:, :, None, None].copy(), bias.copy()))
    network = LifNetwork(
        name=name, steps=model.steps, coding='repeated',
        neutral=tuple(255 * value for value in reversed(MEAN)), input_size=input_size,
        layers=tuple(layers.layers), outputs=('logits',), class_names=tuple(class_names),
        provenance=dict(provenance or {}))
    validate_lif(network)
    return network
