# SPDX-License-Identifier: Apache-2.0
"""Options that say about a float network what its file does not say."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snn_detector_ros.conversion import FloatNetwork, read_onnx
from snn_detector_ros.conversion.detect_head import Anchors, check_anchors
from snn_detector_ros.conversion.head_finders import HEAD_KINDS
from snn_detector_ros.conversion.picture_format import PictureFormat
from snn_detector_ros.engines.float_tail import FloatTail
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.network import RawHead
from snn_detector_ros.network.model_file import AnyNetwork


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group('what the file of a float network does not say')
    group.add_argument('--head', choices=tuple(HEAD_KINDS), default='auto',
                       help='how the outputs become boxes: raw keeps the outputs of the float '
                       'network; auto recognises YOLOv5 and keeps anything else raw')
    group.add_argument('--input-size', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'),
                       help='in px, if the float network takes any')
    group.add_argument('--names', metavar='A,B,...', help='names of the classes')
    group.add_argument('--anchors', metavar='JSON',
                       help='anchors of a YOLO head in px: [[[w, h], ...], ...], finest first')
    group.add_argument('--scale-xy', type=float, default=1.0, metavar='S',
                       help='of YOLOv4 heads (--head yolov3): 1.05 to 1.2 (default: 1)')
    pictures = parser.add_argument_group(
        'how the float network takes pictures: (byte * scale - mean) / std',
        'default: what its metadata or the kind of its head says, or RGB in 0..1')
    pictures.add_argument('--colour', choices=('rgb', 'bgr'), help='order of its channels')
    pictures.add_argument('--scale', type=float, metavar='S', help='1 for 0..255')
    pictures.add_argument('--mean', type=float, nargs='+', metavar='M',
                          help='one number, or one a channel in its order')
    pictures.add_argument('--std', type=float, nargs='+', metavar='S',
                          help='one number, or one a channel in its order')


def read_network(path: Path, options: argparse.Namespace) -> FloatNetwork:
    """
    Read a float network as the options say.

    :raises ConversionError: naming the node that cannot become spikes.
    :raises ConfigurationError: if an option cannot be meant.
    """
    return read_onnx(path, **reading(options))


def reading(options: argparse.Namespace) -> dict[str, Any]:
    """
    Return what the options say, as keyword arguments of :func:`.read_onnx`.

    :raises ConfigurationError: if an option cannot be meant.
    """
    return {
        'input_size': tuple(options.input_size) if options.input_size else None,
        'anchors': _anchors(options.anchors),
        'class_names': options.names.split(',') if options.names else None,
        'head': options.head,
        'picture': _picture(options),
        'scale_xy': options.scale_xy}


def describe_head(network: AnyNetwork) -> Iterator[str]:
    """Yield what comes out of a network, a line each."""
    head = network.head
    if head is None:
        yield 'no head: the outputs are raw membranes'
    elif isinstance(head, RawHead):
        yield 'outputs of the float network:'
        for name, kind in FloatTail(head).outputs.items():
            yield f'  {name}: {kind}'
    else:
        yield (f'head {head.kind} of {", ".join(head.readouts)}; classes: '
               f'{", ".join(network.class_names)}')


def _picture(options: argparse.Namespace) -> PictureFormat | None:
    entries: dict[str, Any] = {
        key: value for key in ('colour', 'scale', 'mean', 'std')
        if (value := getattr(options, key)) is not None}
    return PictureFormat.from_mapping(entries) if entries else None


def _anchors(text: str | None) -> Anchors | None:
    if text is None:
        return None
    try:
        return check_anchors(json.loads(text))
    except ValueError as error:
        raise ConfigurationError(f'--anchors {text!r} is not JSON: {error}') from error
