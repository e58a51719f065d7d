# SPDX-License-Identifier: Apache-2.0
"""What exporters write beside the graph: class names, anchors, where the weights come from."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from snn_detector_ros.conversion.detect_head import Anchors, check_anchors
from snn_detector_ros.conversion.onnx_graph import OnnxGraph
from snn_detector_ros.conversion.picture_format import PictureFormat
from snn_detector_ros.errors import ConversionError

#: Entries that are passed on to the spiking network as they are.
_PASSED_ON = ('author', 'date', 'description', 'license', 'training', 'version')


@dataclass(frozen=True)
class DetectorMetadata:
    """
    The entries of ``metadata_props`` that matter here.

    :param class_names: names by index; empty if the file has none.
    :param anchors: (width, height) in px of each anchor of each level; None if the file has none.
    :param picture: how the network takes pictures; None if the file does not say.
    """

    class_names: tuple[str, ...] = ()
    anchors: Anchors | None = None
    picture: PictureFormat | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, graph: OnnxGraph) -> DetectorMetadata:
        """
        Read the entries of a file.

        :raises ConversionError: if an entry is malformed.
        """
        names = _parse(graph, 'names') or []
        if isinstance(names, Mapping):  # Ultralytics writes {0: 'person', ...}
            by_index = {str(key): name for key, name in names.items()}
            names = [by_index.get(str(index)) for index in range(len(names))]
        if not isinstance(names, list | tuple) or None in names:
            raise ConversionError(f'{graph.path}: metadata `names` is not a list of class names')
        anchors = _parse(graph, 'anchors')
        picture = _parse(graph, 'input')
        if picture is not None and not isinstance(picture, Mapping):
            raise ConversionError(f'{graph.path}: metadata `input` is no mapping: {picture!r}')
        return cls(
            tuple(str(name) for name in names),
            None if anchors is None else check_anchors(anchors),
            None if picture is None else PictureFormat.from_mapping(picture),
            {key: graph.metadata[key] for key in _PASSED_ON if key in graph.metadata})


def _parse(graph: OnnxGraph, key: str) -> Any:
    """Read an entry that is JSON, or a Python literal as Ultralytics writes it."""
    text = graph.metadata.get(key)
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise ConversionError(f'{graph.path}: metadata `{key}` is neither JSON nor a Python '
                              f'literal: {text[:60]!r}') from error
