# SPDX-License-Identifier: Apache-2.0
"""On a real GPU, where there is one: both sets of kernels, and those of training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from network_builder import small_detector

from snn_detector_ros.engines.gpu.usable import why_unusable

#: In a process of its own, which compiles kernels instead of interpreting them.
ENGINE = """
import sys
import numpy as np
from network_builder import small_detector, small_signed_detector
from snn_detector_ros.engines import make_engine
from snn_detector_ros.network import SpikeCode, model_file
from snn_detector_ros.resources import DEFAULT_MODEL, resource

random = np.random.default_rng(0)
networks = [small_detector(), small_signed_detector(), small_detector(code=SpikeCode.binary(6)),
            model_file.load_converted(resource(DEFAULT_MODEL))]
for network in networks:
    engine = make_engine(sys.argv[1], network)
    truth = make_engine('simulator' if network is not networks[-1] else 'onnxruntime', network)
    for _ in range(3):
        pixels = random.integers(0, 256, (*network.input_size, 3), dtype=np.uint8)
        expected, found = truth.run(pixels), engine.run(pixels)
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
        assert engine.firing().layers == truth.firing().layers
    levels = engine.levels()
    for name, values in truth.levels().items():
        np.testing.assert_array_equal(levels[name], values, err_msg=name)
print('equal')
"""

TRAINING = """
import torch
from snn_detector_ros.training.spiking.lif import Lif, LifParameters, lif_steps
from snn_detector_ros.training.spiking.lif_fused import can_fuse

torch.manual_seed(0)
for neuron in (LifParameters(), LifParameters(detach_reset=False, decay=0.5)):
    x = torch.randn(4, 3, 17, 9, 11, device='cuda', requires_grad=True)
    assert can_fuse(x)
    weight = torch.randn_like(x)
    gradients = []
    for spikes in (Lif(neuron)(x), lif_steps(x, neuron)):
        gradients.append(torch.autograd.grad((spikes * weight).sum(), x)[0])
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)
print('equal')
"""


def output(script: str, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != 'TRITON_INTERPRET'}
    environment['PYTHONPATH'] = os.pathsep.join(
        [str(Path(__file__).parent), *filter(None, [environment.get('PYTHONPATH')])])
    done = subprocess.run([sys.executable, '-c', script, *arguments], text=True,
                          capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize('kernels', ['triton', 'cuda'])
def test_the_engine_equals_the_others(kernels: str) -> None:
    obstacle = why_unusable(small_detector(), kernels)  # type: ignore[arg-type]
    if obstacle is not None:
        pytest.skip(obstacle)
    assert output(ENGINE, kernels) == 'equal\n'


def test_fused_neurons_learn_as_the_others() -> None:
    torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')
    pytest.importorskip('triton', reason='triton is not installed (extra: gpu)')
    if not torch.cuda.is_available():
        pytest.skip('torch sees no GPU')
    assert output(TRAINING) == 'equal\n'
