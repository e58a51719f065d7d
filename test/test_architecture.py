# SPDX-License-Identifier: Apache-2.0
"""The floors of the house: imports go down, and heavy dependencies stay where they belong."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import snn_detector_ros

PACKAGE = Path(snn_detector_ros.__file__).parent
#: Lowest first; a floor imports itself and those before it.
FLOORS = ['errors', 'resources', 'native', 'events', 'datasets', 'media', 'network', 'conversion',
          'engines', 'detection', 'training', 'evaluation', 'study',
          'ros', 'cli']
#: Who alone may import what.
RESERVED = {
    'torch': ('training',),
    'triton': ('engines', 'training'),
    'cuda': ('engines',),
    'rclpy': ('ros',),
    'sensor_msgs': ('ros',),
    'vision_msgs': ('ros',),
    'onnx': ('network', 'conversion', 'engines', 'training', 'study'),
    'onnxruntime': ('conversion', 'engines', 'evaluation'),
}
MODULES = sorted(PACKAGE.rglob('*.py'))


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import'
            yield node.module or ''


def floor_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix('').parts[0]


@pytest.mark.parametrize('path', MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_and_heavy_ones_stay_put(path: Path) -> None:
    floor = floor_of(path)
    for name in imports(path):
        top, *rest = name.split('.')
        if top in RESERVED:
            assert floor in RESERVED[top], f'{floor} imports {top}'
        if top == 'snn_detector_ros' and rest and floor != '__init__':
            assert FLOORS.index(rest[0]) <= FLOORS.index(floor), f'{floor} imports {name}'


def test_the_checks_see_all_floors() -> None:
    assert {floor_of(path) for path in MODULES} - {'__init__'} == set(FLOORS)
