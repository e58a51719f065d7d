# SPDX-License-Identifier: Apache-2.0
"""One network in several spike codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from snn_detector_ros.conversion import FloatNetwork, SuhdOptions, convert, dequantise
from snn_detector_ros.conversion.calibration import Pictures
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.network import SpikingNetwork

_KINDS: dict[str, Literal['linear', 'binary', 'constant']] = {
    'linear': 'linear', 'binary': 'binary', 'constant': 'constant'}


def parse_codes(texts: Sequence[str], base: SuhdOptions | None = None) -> list[SuhdOptions]:
    """
    Return the conversion that each text asks for.

    :param texts: ``KIND:STEPS:BURST`` each, e.g. ``linear:4:12``; steps and bursts may be lists,
        ``linear:1,2,4:1,12``, which stand for all their combinations.
    :param base: the other choices of the conversion.
    :raises ConfigurationError: if a text is none, or its levels do not fit 8 bit.
    """
    result = []
    for text in texts:
        kind, *numbers = text.split(':')
        try:
            steps, bursts = ([int(number) for number in part.split(',')] for part in numbers)
        except ValueError:
            steps, bursts = [], []
        if kind not in _KINDS or not steps:
            raise ConfigurationError(f'code {text!r}: write KIND:STEPS:BURST with KIND one of '
                                     f'{", ".join(_KINDS)}, for example linear:1,2,4:12')
        for burst in bursts:
            for step in steps:
                options = replace(base or SuhdOptions(), kind=_KINDS[kind], steps=step, burst=burst)
                options.code  # noqa: B018 - raises if the code cannot be used
                result.append(options)
    return result


def variants(
    source: FloatNetwork | SpikingNetwork,
    conversions: Sequence[SuhdOptions],
    pictures: Pictures | None,
) -> Iterator[tuple[SuhdOptions, SpikingNetwork]]:
    """
    Yield a network in each code, converted once for each number of levels.

    Levels depend on their number alone, so codes with as many levels differ in their spikes only,
    and a spiking network whose levels suffice keeps its weights and thresholds. To get others, its
    weights are made float again and converted like those of a float network.

    :param source: a float network, or a spiking one.
    :param conversions: see :func:`parse_codes`; those with one number of levels must not differ
        but in their codes.
    :param pictures: calibration pictures, letterboxed to the input size; None if there are none.
    :raises ConfigurationError: if a conversion needs pictures and there are none.
    """
    known: dict[int, SpikingNetwork] = {}
    if isinstance(source, SpikingNetwork):
        known[source.code.max_level] = source
    for options in conversions:
        levels = options.code.max_level
        if levels not in known:
            if pictures is None:
                raise ConfigurationError(
                    f'{options.code} has other levels than {source.name}: give pictures to '
                    'calibrate on, with --calibration DIR')
            floats = dequantise(source) if isinstance(source, SpikingNetwork) else source
            known[levels] = convert(floats, pictures, options)
        yield options, replace(known[levels], code=options.code, firing_rates={})
