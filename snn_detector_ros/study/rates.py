# SPDX-License-Identifier: Apache-2.0
"""The experiments on Spiking-YOLO's rate code, whose neurons fire while they receive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from snn_detector_ros.conversion import FloatNetwork
from snn_detector_ros.conversion.spiking_yolo import SpikingYoloOptions, convert_spiking_yolo
from snn_detector_ros.evaluation.contestants import Contestant
from snn_detector_ros.evaluation.markdown import millions, percent
from snn_detector_ros.evaluation.plots import Line
from snn_detector_ros.study.bench import Bench, CurvePoint, rate_curve
from snn_detector_ros.study.levels import has_signed_neurons
from snn_detector_ros.study.section import Section, Table, line_chart

#: Fewest steps at which a rate code is read; then always twice as many.
FIRST_STEPS = 8


@dataclass(frozen=True)
class Variant:
    """One way to convert."""

    options: SpikingYoloOptions
    needs_sign: bool = False


#: The ablations of Spiking-YOLO: normalisation, signed neuron, decoding.
VARIANTS = {
    'channel, membrane': Variant(SpikingYoloOptions()),
    'channel, spike count': Variant(SpikingYoloOptions(readout='count')),
    'layer, membrane': Variant(SpikingYoloOptions(normalisation='layer')),
    'channel, membrane, no signed neuron': Variant(
        SpikingYoloOptions(signed_neuron=False), needs_sign=True),
    'layer, membrane, no signed neuron': Variant(
        SpikingYoloOptions(normalisation='layer', signed_neuron=False), needs_sign=True)}


def rates(
    bench: Bench, network: FloatNetwork, reference: Contestant, *, most_steps: int,
    percentile: float | None = None,
) -> Section:
    """
    Compare normalisation, neuron and decoding of the rate code over its number of time steps.

    :param network: the float network.
    :param reference: its float detector.
    :param most_steps: time steps T, a power of two from 8 on; results are read on the way.
    :param percentile: share of the activations that the rates cover; None for all.
    """
    steps = [FIRST_STEPS << power for power in range((most_steps // FIRST_STEPS).bit_length())]
    floats = bench.evaluate(reference.open(), reference.name).map50
    pictures = bench.calibration(network.input_size)
    signed = has_signed_neurons(network)
    curves = {
        name: rate_curve(bench, convert_spiking_yolo(network, pictures, replace(
            variant.options, steps=most_steps, percentile=percentile)), steps, name)
        for name, variant in VARIANTS.items() if signed or not variant.needs_sign}
    scale = 'the largest activation' if percentile is None else f'{percentile:g} % of activations'
    return Section(
        f'Rate code of Spiking-YOLO: {network.name}',
        f'Neurons fire in the step in which they receive; {len(bench.few)} pictures, on which the '
        f'float network has {percent(floats)} mAP50. Scales cover {scale}.',
        (_table('mAP50', curves, lambda point: percent(point.map50)),
         _table('million spikes a frame', curves, lambda point: millions(point.spikes))),
        (line_chart(
            f'rates_{network.name}', f'Rate code of Spiking-YOLO: {network.name}',
            {name: Line(list(curve), [100 * point.map50 for point in curve.values()])
             for name, curve in curves.items()},
            reference=100 * floats, log_x=True),))


def _table(
    title: str, curves: Mapping[str, Mapping[int, CurvePoint]],
    cell: Callable[[CurvePoint], str],
) -> Table:
    counts = next(iter(curves.values()))
    return Table(
        (title, *(f'T={count}' for count in counts)),
        [[name, *(cell(point) for point in curve.values())] for name, curve in curves.items()])
