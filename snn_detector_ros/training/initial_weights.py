# SPDX-License-Identifier: Apache-2.0
"""
Start a training from weights that exist: of the same network, of a SiLU one, of a narrower one.

Weights come from a float ONNX file, whose convolutions are taken in the order of execution, from a
model file of ours, whose levels are turned back into activations, or from a safetensors file, whose
names are those of our modules or of the published YOLOv5. None of them can carry code; a pickle
could, so none is read.

A file holds convolutions with batch normalisation folded in. To train on, it is taken out again:
the statistics of each convolution's output on training pictures become the normalisation's, and its
scale and shift undo it, so that the network starts as the function that the file holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from snn_detector_ros.conversion import FloatConvolution, dequantise
from snn_detector_ros.errors import ConfigurationError, MissingDependencyError, SnnDetectorError
from snn_detector_ros.network import YoloV5Head, model_file
from snn_detector_ros.training.anchors import Anchors, as_anchors
from snn_detector_ros.training.head import STRIDES, AnchorDetector

#: Names of the modules of the published YOLOv5 (v6), and ours.
PUBLISHED_MODULES = {
    0: 'to_p3.0', 1: 'to_p3.1', 2: 'to_p3.2', 3: 'to_p3.3', 4: 'to_p3.4', 5: 'to_p4.0',
    6: 'to_p4.1', 7: 'to_p5.0', 8: 'to_p5.1', 9: 'to_p5.2', 10: 'lateral5', 13: 'merge4',
    14: 'lateral4', 17: 'merge3', 18: 'down3', 20: 'out4', 21: 'down4', 23: 'out5', 24: 'head'}
PUBLISHED_PARTS = (('.conv.', '.0.'), ('.bn.', '.1.'))

#: Of the share that the first of several copies of a channel takes, around an equal one.
SPLIT_DEVIATION = 0.3


@dataclass(frozen=True)
class FoldedConvolution:
    """Weight float [Cout, Cin, k, k] and bias float [Cout], batch normalisation folded in."""

    weight: Tensor
    bias: Tensor


Weights: TypeAlias = dict[str, FoldedConvolution]


@dataclass(frozen=True)
class InitialWeights:
    """
    What a file gives: convolutions by the name of our module, and the anchors they belong to.

    :param anchors: px, None if the file has none.
    """

    convolutions: Weights
    anchors: Anchors | None


def read_weights(path: Path, model: AnchorDetector) -> InitialWeights:
    """
    Read the weights of a network of the same layout.

    :param path: ``.onnx``, of floats or of spikes, or ``.safetensors``.
    :param model: the network that they are for; it stays as it is.
    :raises ConfigurationError: if the file is of another kind or holds another network.
    :raises MissingDependencyError: if the reader of the format is not installed.
    """
    if not path.is_file():
        raise ConfigurationError(f'--init {path} does not exist')
    match path.suffix:
        case '.onnx':
            return _read_onnx(path, model)
        case '.safetensors':
            return _read_safetensors(path)
        case suffix:
            raise ConfigurationError(
                f'--init {path}: {suffix or "no suffix"} is not read; give .onnx or .safetensors '
                '(a pickle such as .pt may run code when it is opened: export it first)')


def load_weights(model: AnchorDetector, weights: Weights) -> list[str]:
    """
    Put the weights into a network whose batch normalisation then does nothing.

    A network that is a whole number of times wider computes the same function at first: each
    channel stands there several times, and what reads it shares its weight out at random, so that
    the copies learn different things (Net2Net, Chen et al. 2016).

    :param model: changed in place.
    :param weights: as :func:`read_weights` gives them.
    :returns: the convolutions that keep their random weights: those of the head for other classes.
    :raises ConfigurationError: if another convolution does not fit.
    """
    kept = []
    for name, conv in _convolutions(model).items():
        given = weights.get(name)
        fits = given is not None and _fits(conv, given.weight)
        if not fits and name.startswith('head.'):
            kept.append(name)
            continue
        if given is None or not fits:
            shape = 'missing' if given is None else str(tuple(given.weight.shape))
            raise ConfigurationError(
                f'--init: convolution `{name}` is {shape} in the file, but '
                f'{tuple(conv.weight.shape)} in the network; choose the --model that it was '
                'trained as, or a wider one')
        _put(model, name, conv, _widen(given, conv))
    return kept


@torch.no_grad()
def restore_normalisation(model: AnchorDetector, batches: Iterable[Tensor]) -> None:
    """
    Let batch normalisation work on real statistics without a change of the network's function.

    :param model: a network whose normalisation does nothing, from :func:`load_weights`.
    :param batches: training input, float [N, 3, H, W] in 0..1.
    """
    pairs = [(module[0], module[1]) for module in model.modules()
             if isinstance(module, nn.Sequential) and len(module) > 1
             and isinstance(module[1], nn.BatchNorm2d)]
    sums = {norm: torch.zeros(3, norm.num_features, dtype=torch.float64) for _, norm in pairs}

    def collect(norm: nn.BatchNorm2d, output: Tensor) -> None:
        values = output.transpose(0, 1).flatten(1)
        sums[norm] += torch.stack((
            torch.full_like(values[:, 0], values.shape[1]), values.sum(1),
            values.square().sum(1))).double()

    hooks = [conv.register_forward_hook(lambda _m, _i, out, norm=norm: collect(norm, out))
             for conv, norm in pairs]
    was_training = model.training
    model.eval()
    for batch in batches:
        model(batch)
    for hook in hooks:
        hook.remove()
    for _, norm in pairs:
        count, total, squares = sums[norm]
        mean = total / count
        variance = (squares / count - mean ** 2).clamp(min=0)
        norm.weight *= torch.sqrt(variance + norm.eps).float()
        norm.bias += mean.float()
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
    model.train(was_training)


def _convolutions(model: AnchorDetector) -> dict[str, nn.Conv2d]:
    return {name: module for name, module in model.named_modules()
            if isinstance(module, nn.Conv2d)}


def _fits(conv: nn.Conv2d, given: Tensor) -> bool:
    wanted = conv.weight.shape
    return wanted[2:] == given.shape[2:] and not (
        wanted[0] % given.shape[0] or wanted[1] % given.shape[1])


def _widen(given: FoldedConvolution, conv: nn.Conv2d) -> FoldedConvolution:
    outputs = conv.weight.shape[0] // given.weight.shape[0]
    inputs = conv.weight.shape[1] // given.weight.shape[1]
    weight = given.weight.repeat_interleave(outputs, 0).repeat_interleave(inputs, 1)
    if inputs > 1:
        shares = 1 + SPLIT_DEVIATION * torch.randn(weight.shape)
        grouped = shares.unflatten(1, (-1, inputs))
        weight = weight * (grouped / grouped.sum(2, keepdim=True)).flatten(1, 2)
    return FoldedConvolution(weight, given.bias.repeat_interleave(outputs, 0))


@torch.no_grad()
def _put(model: AnchorDetector, name: str, conv: nn.Conv2d, given: FoldedConvolution) -> None:
    conv.weight.copy_(given.weight)
    if conv.bias is not None:
        conv.bias.copy_(given.bias)
        return
    norm = model.get_submodule(f'{name[:-1]}1')
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
    norm.weight.fill_(1)
    norm.bias.copy_(given.bias)


def _read_onnx(path: Path, model: AnchorDetector) -> InitialWeights:
    try:
        read = _read_spiking if model_file.is_spiking(path) else _read_float
        convolutions, anchors = read(path)
    except SnnDetectorError as error:
        raise ConfigurationError(f'--init {error}') from error
    names = _execution_order(model)
    if len(convolutions) != len(names):
        raise ConfigurationError(
            f'--init {path} has {len(convolutions)} convolutions, the network {len(names)}: only '
            'networks of the same depth can be taken over')
    return InitialWeights(dict(zip(names, convolutions, strict=True)), anchors)


def _read_float(path: Path) -> tuple[list[FoldedConvolution], Anchors | None]:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path))
    constants = {item.name: item for item in graph.graph.initializer}
    nodes = [node for node in graph.graph.node if node.op_type == 'Conv']
    if any(node.input[1] not in constants for node in nodes):
        raise ConfigurationError(f'{path}: has convolutions whose weights are no constants; '
                                 'export it without quantisation')
    convolutions = []
    for node in nodes:
        weight = torch.from_numpy(numpy_helper.to_array(constants[node.input[1]]).copy())
        bias = (torch.from_numpy(numpy_helper.to_array(constants[node.input[2]]).copy())
                if len(node.input) > 2 else torch.zeros(len(weight)))
        convolutions.append(FoldedConvolution(weight, bias))
    texts = {item.key: item.value for item in graph.metadata_props}
    anchors = as_anchors(json.loads(texts['anchors'])) if 'anchors' in texts else None
    return convolutions, anchors


def _read_spiking(path: Path) -> tuple[list[FoldedConvolution], Anchors | None]:
    floats = dequantise(model_file.load_converted(path))
    convolutions = [
        FoldedConvolution(torch.from_numpy(layer.weight.copy()), torch.from_numpy(layer.bias))
        for layer in floats.layers if isinstance(layer, FloatConvolution)]
    if not isinstance(floats.head, YoloV5Head):
        return convolutions, None
    return convolutions, as_anchors([level.anchors for level in floats.head.levels])


def _execution_order(model: AnchorDetector) -> list[str]:
    """Return the names of the convolutions as they run."""
    order: list[str] = []
    hooks = [conv.register_forward_hook(lambda _m, _i, _o, name=name: order.append(name))
             for name, conv in _convolutions(model).items()]
    was_training = model.training
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, STRIDES[-1], STRIDES[-1]))
    for hook in hooks:
        hook.remove()
    model.train(was_training)
    return order


def _read_safetensors(path: Path) -> InitialWeights:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingDependencyError('safetensors', 'train') from error
    try:
        given = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ConfigurationError(f'--init {path} is not a safetensors file: {error}') from error
    tensors = {_our_name(name): value for name, value in given.items()}
    weights = {name.removesuffix('.weight'): _fold(tensors, name.removesuffix('.weight'))
               for name, value in tensors.items() if name.endswith('.weight') and value.ndim == 4}
    anchors = tensors.get('head.anchors')
    if anchors is not None and 'head.anchors' not in given:
        # The published network keeps them in cells.
        anchors = anchors * torch.tensor(STRIDES)[:, None, None]
    return InitialWeights(weights, None if anchors is None else as_anchors(anchors.tolist()))


def _our_name(name: str) -> str:
    """Translate a name of the published network; others stay as they are."""
    found = re.fullmatch(r'(?:model\.)+(\d+)\.(.+)', name)
    if found is None or int(found[1]) not in PUBLISHED_MODULES:
        return name
    rest = f'.{found[2]}'
    for theirs, ours in PUBLISHED_PARTS:
        rest = rest.replace(theirs, ours)
    return PUBLISHED_MODULES[int(found[1])] + rest


def _fold(tensors: Mapping[str, Tensor], name: str) -> FoldedConvolution:
    """Return a convolution with the normalisation that stands behind it in the file, if any."""
    weight = tensors[f'{name}.weight'].float()
    norm = f'{name[:-1]}1'
    if not name.endswith('.0') or f'{norm}.running_var' not in tensors:
        bias = tensors.get(f'{name}.bias')
        return FoldedConvolution(weight, torch.zeros(len(weight)) if bias is None else bias.float())
    scale = tensors[f'{norm}.weight'] / torch.sqrt(tensors[f'{norm}.running_var'] + 1e-3)
    shift = tensors[f'{norm}.bias'] - tensors[f'{norm}.running_mean'] * scale
    return FoldedConvolution(weight * scale.float()[:, None, None, None], shift.float())
