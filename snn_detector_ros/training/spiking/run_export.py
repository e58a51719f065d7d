# SPDX-License-Identifier: Apache-2.0
"""Export what the run folder of a training holds."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from snn_detector_ros.datasets.cifar10 import NAMES, SIDE
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.network import LifNetwork
from snn_detector_ros.training.anchors import as_anchors
from snn_detector_ros.training.checkpoint import CHECKPOINT_FILE, load_checkpoint
from snn_detector_ros.training.spiking.ems_yolo import SIZES, EmsYolo
from snn_detector_ros.training.spiking.event_pictures import frame_size
from snn_detector_ros.training.spiking.export import export_classifier, export_ems_yolo
from snn_detector_ros.training.spiking.resnet import SpikingResNet, spiking

#: Averaged weights of the best epoch, as the training loop keeps them.
BEST_FILE = 'best.pt'


def export_event_run(
        folder: Path, settings: Mapping[str, Any], *, name: str,
        provenance: Mapping[str, str]) -> LifNetwork:
    """
    Export a detector of events.

    :param folder: run folder of ``train-events``.
    :param settings: what fixes the network: model, width, names, anchors, size and window.
    :param name: short name for logs and messages.
    :param provenance: facts for the reader; those of the run are added.
    :raises ConfigurationError: if its weights are missing, or of another network.
    """
    window, names = settings['window'], tuple(settings['names'])
    size = replace(SIZES[settings['model']], width=settings['width'])
    model = EmsYolo(size, len(names), as_anchors(settings['anchors']), channels=1)
    record = _load(model, folder / BEST_FILE, 'average')
    return export_ems_yolo(
        model, name=name, class_names=names, input_size=frame_size(settings['size']),
        bins=window['bins'], provenance={
            'network': f'{settings["model"]}, width {settings["width"]:g}',
            'window': f'{window["bins"]} bins of {window["bin_length"] / 1000:g} ms',
            'training': _as_text(record), **provenance})


def export_classifier_run(
        folder: Path, settings: Mapping[str, Any], *, name: str,
        provenance: Mapping[str, str]) -> LifNetwork:
    """
    Export a classifier; parameters are those of :func:`export_event_run`.

    :raises ConfigurationError: also if it is the twin of ordinary neurons.
    """
    if settings['model'] != 'tdbn-resnet':
        raise ConfigurationError(f'{folder}: {settings["model"]} has no spiking neurons; '
                                 'only tdbn-resnet can be exported')
    model = SpikingResNet(
        len(NAMES), spiking(), steps=settings['steps'], width=settings['width'])
    record = _load(model, folder / CHECKPOINT_FILE, 'model')
    return export_classifier(
        model, name=name, class_names=NAMES, input_size=(SIDE, SIDE), provenance={
            'network': f'tdbn-resnet, width {settings["width"]}',
            'training': _as_text(record), **provenance})


def _load(model: nn.Module, weights: Path, key: str) -> Mapping[str, Any]:
    """Load weights, and return the record of their epoch."""
    state = load_checkpoint(weights)
    try:
        model.load_state_dict(state[key])
        record: Mapping[str, Any] = state['record']
    except (RuntimeError, KeyError) as error:
        raise ConfigurationError(f'{weights} is of another network or release: {error}') from error
    return record


def _as_text(record: Mapping[str, Any]) -> str:
    return ', '.join(f'{key} {value}' for key, value in record.items())
