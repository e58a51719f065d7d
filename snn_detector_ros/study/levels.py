# SPDX-License-Identifier: Apache-2.0
"""The experiments on networks whose layers wait for all time steps: one pass a picture is exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

from snn_detector_ros.conversion import FloatConvolution, FloatNetwork, SuhdOptions, convert
from snn_detector_ros.conversion.spiking_yolo import without_sign
from snn_detector_ros.engines.onnxruntime import OnnxRuntimeEngine
from snn_detector_ros.evaluation.comparison import Outcome
from snn_detector_ros.evaluation.contestants import Contestant
from snn_detector_ros.evaluation.markdown import Cell, millions, percent
from snn_detector_ros.evaluation.plots import Line
from snn_detector_ros.network import InitialMembrane, MaxPool, SpikeCode, SpikingNetwork
from snn_detector_ros.network.validation import MAX_LEVEL, MAX_SIGNED_LEVEL
from snn_detector_ros.study.bench import Bench, EngineDetector
from snn_detector_ros.study.pooling import StepwisePoolEngine
from snn_detector_ros.study.section import Section, Table, line_chart

STEPS = (1, 2, 3, 4, 6, 8)
#: Burst cap of the default code.
BURST = 12

#: The conversion of the papers, without the corrections of weights and biases that we add.
PUBLISHED = SuhdOptions(bias_correction=False, rounding='nearest')

Kind: TypeAlias = Literal['linear', 'constant']

#: The codes of the papers: weights of the steps, and the burst cap.
CODES: dict[str, tuple[Kind, int]] = {
    'rate code': ('constant', 1),
    'compression': ('constant', BURST),
    'STDI': ('linear', 1),
    'STDI and compression': ('linear', BURST)}


def codes(
    bench: Bench, network: FloatNetwork, reference: Contestant, *, steps: Sequence[int] = STEPS,
) -> Section:
    """
    Compare rate code, timestep compression, STDI, and both over the number of time steps.

    :param network: the float network.
    :param reference: its float detector.
    """
    signed = has_signed_neurons(network)
    limit = MAX_SIGNED_LEVEL if signed else MAX_LEVEL
    # Signed neurons round to the nearest level wherever other membranes start.
    starts: Sequence[InitialMembrane] = ('half',) if signed else ('zero', 'half')
    pictures = bench.calibration(network.input_size)
    networks: dict[str, SpikingNetwork] = {}
    for start in starts:
        for name, (kind, burst) in CODES.items():
            for count in steps:
                options = replace(
                    PUBLISHED, kind=kind, steps=count, burst=burst, initial_membrane=start)
                if getattr(SpikeCode, kind)(count, burst).max_level <= limit:
                    networks[f'{name}, {start}, T={count}'] = convert(network, pictures, options)
    comparison = bench.compare(networks, reference)
    outcomes = {one.name: one for one in comparison.outcomes}
    tables, plots = [], []
    for start in starts:
        chosen = {name: {count: outcomes[key] for count in steps
                         if (key := f'{name}, {start}, T={count}') in outcomes} for name in CODES}
        tables.append(Table(
            (f'mAP50, membrane starts at {start}', *(f'T={count}' for count in steps)),
            [[name, *(_percent(line.get(count)) for count in steps)]
             for name, line in chosen.items()]))
        plots.append(line_chart(
            f'codes_{network.name}_{start}', f'Spike codes, membrane starts at {start}',
            {name: Line(list(line), [100 * one.result.map50 for one in line.values()])
             for name, line in chosen.items()},
            reference=100 * comparison.reference.result.map50))
    tables.append(Table(
        ('million spikes a frame (half)', *(f'T={count}' for count in steps)),
        [[name, *(_spikes(outcomes.get(f'{name}, half, T={count}')) for count in steps)]
         for name in CODES]))
    return Section(
        f'Spike codes over time steps: {network.name}',
        f'Float: {percent(comparison.reference.result.map50)} mAP50 on {len(bench.dataset)} '
        f'pictures. Compression and both have a burst cap of {BURST}; empty where the levels pass '
        f'{limit}. A membrane that starts at zero rounds levels down, as in SUHD; half a threshold '
        'rounds to the nearest. Signed neurons always round to the nearest.',
        tuple(tables), tuple(plots))


def normalisation(
    bench: Bench, network: FloatNetwork, reference: Contestant,
) -> Section:
    """
    Compare one scale a layer with one a channel, and neurons with and without a sign.

    :param network: the float network.
    :param reference: its float detector.
    """
    pictures = bench.calibration(network.input_size)
    networks = {}
    for label, burst in (('Q=10', 1), ('Q=120', BURST)):
        for scale in ('layer', 'channel'):
            options = replace(
                PUBLISHED, burst=burst, normalisation='layer' if scale == 'layer' else 'channel')
            spiking = convert(network, pictures, options)
            networks[f'{scale}, {label}'] = spiking
            if has_signed_neurons(network):
                networks[f'{scale}, {label}, no signed neuron'] = without_sign(spiking)
    comparison = bench.compare(networks, reference)
    return Section(
        f'Normalisation: {network.name}',
        'One scale for a layer against one for each channel, in the linear code with T=4.'
        + (' Without the signed neuron, what leaky ReLU lets through below zero is lost.'
           if has_signed_neurons(network) else ''),
        (_accuracy(comparison.outcomes),))


def pooling(
    bench: Bench, network: FloatNetwork, reference: Contestant,
) -> Section | None:
    """
    Compare Spike-Maxpooling with pools that look at each time step by itself.

    :param network: the float network.
    :param reference: its float detector.
    :returns: None if the network has no max pool, or signed neurons.
    """
    pools = any(isinstance(layer, MaxPool) for layer in network.layers)
    if has_signed_neurons(network) or not pools:
        return None
    pictures = bench.calibration(network.input_size)
    rows: list[list[Cell]] = [['float', percent(bench.evaluate(
        reference.open(), 'float').map50), None]]
    for name, (kind, burst) in CODES.items():
        spiking = convert(network, pictures, replace(PUBLISHED, kind=kind, burst=burst))
        decoded, stepwise = (
            bench.evaluate(EngineDetector(engine(spiking, threads=bench.threads)),
                           f'{name}, {engine.name}').map50
            for engine in (OnnxRuntimeEngine, StepwisePoolEngine))
        rows.append([f'{name}, T=4', percent(decoded), percent(stepwise)])
    return Section(
        f'Spike-Maxpooling in the SPPF block: {network.name}',
        'Pools that decode the membrane, let the largest win and encode it again, against pools '
        f'that pass on the largest spike of each time step; {len(bench.few)} pictures. For equal '
        'weights both are the same function.',
        (Table(('code', 'Spike-Maxpooling, mAP50', 'each step by itself, mAP50'), rows),))


def parameters(network: FloatNetwork) -> int:
    """Return the number of weights and biases."""
    return sum(layer.weight.size + layer.bias.size for layer in network.layers
               if isinstance(layer, FloatConvolution))


def has_signed_neurons(network: FloatNetwork) -> bool:
    """Whether neurons other than those of the outputs may fire below zero."""
    return not network.signed <= set(network.outputs)


def _percent(outcome: Outcome | None) -> str | None:
    return None if outcome is None else percent(outcome.result.map50)


def _spikes(outcome: Outcome | None) -> str | None:
    if outcome is None or outcome.cost is None:
        return None
    return millions(outcome.cost.spikes)


def _accuracy(outcomes: Sequence[Outcome]) -> Table:
    return Table(('network', 'mAP50', 'mAP50-95', 'million spikes a frame'), [
        [one.name, percent(one.result.map50), percent(one.result.map),
         _spikes(one) if one.contestant.network else None] for one in outcomes])
