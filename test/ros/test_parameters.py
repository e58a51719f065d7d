# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import array
import math
from pathlib import Path

import pytest
import yaml

from snn_detector_ros.engines.select import ENGINES
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.events.frames import REPRESENTATIONS
from snn_detector_ros.ros.parameters import PARAMETERS, Settings, markdown_table, yaml_file

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_defaults_pass_their_own_check():
    assert Settings.of({name: row.ros_default for name, row in PARAMETERS.items()}) == Settings()


@pytest.mark.parametrize('name, value, expected', [
    ('score_threshold', 1, 1.0), ('max_detections', 7, 7), ('engine', 'simulator', 'simulator'),
    ('statistics', False, False), ('input_size', 0, ()), ('input_size', 320, (320, 320)),
    ('input_size', [384, 640], (384, 640)), ('input_size', [320], (320, 320)),
    ('input_size', [0, 0], ()), ('input_size', array.array('q', [384, 640]), (384, 640))])
def test_a_value_that_is_allowed_is_taken(name, value, expected):
    taken = getattr(Settings().changed({name: value}), name)
    assert taken == expected and type(taken) is type(expected)


@pytest.mark.parametrize('name, value', [
    ('score_threshold', 1.01), ('score_threshold', -0.1), ('score_threshold', math.nan),
    ('score_threshold', '0.5'), ('score_threshold', True), ('score_threshold', None),
    ('max_detections', 0), ('max_detections', 5.0), ('max_detections', True),
    ('statistics', 1), ('model', 5), ('engine', 'quantum'), ('engine', ''),
    ('input_size', -32), ('input_size', [320, 0]), ('input_size', [1, 2, 3]),
    ('input_size', '320'), ('input_size', [320.0, 320.0]), ('input_size', 10**6),
    ('latency_budget', math.inf)])
def test_a_value_that_is_not_allowed_is_refused_by_name(name, value):
    before = Settings()
    with pytest.raises(ConfigurationError, match=f'`{name}` is '):
        before.changed({name: value})
    assert before == Settings()


def test_only_what_the_network_is_made_of_needs_a_reload():
    before = Settings()
    assert before.changed({'model': 'other.onnx'}).needs_reload(before)
    assert before.changed({'threads': 2}).needs_reload(before)
    assert not before.changed({'score_threshold': 0.5, 'max_age': 1.0}).needs_reload(before)


def test_the_engines_are_those_that_exist():
    assert set(PARAMETERS['engine'].choices) == set(ENGINES)


def test_the_representations_are_those_that_exist():
    assert set(PARAMETERS['event_representation'].choices) == set(REPRESENTATIONS)


def test_a_window_by_count_must_fit_the_budget():
    changed = Settings().changed({'event_budget': 1, 'event_window_count': 65_536})
    assert changed.most_events == 65_536
    with pytest.raises(ConfigurationError, match='`event_window_count` is 65537'):
        changed.changed({'event_window_count': 65_537})
    with pytest.raises(ConfigurationError, match='`event_budget` of 1 MiB holds 65536 events'):
        Settings().changed({'event_window_count': 100_000}).changed({'event_budget': 1})


def test_the_yaml_file_is_made_from_the_table():
    assert (REPOSITORY / 'config' / 'detector.yaml').read_text() == yaml_file()
    values = yaml.safe_load(yaml_file())['/**']['ros__parameters']
    assert values == {name: row.ros_default for name, row in PARAMETERS.items()}


def test_the_readme_holds_the_table():
    assert markdown_table() in (REPOSITORY / 'README.md').read_text()
