# SPDX-License-Identifier: Apache-2.0
"""Firing rates and energy of trained networks, against a case that is counted by hand."""

import pytest

torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from snn_detector_ros.training.spiking.ems_yolo import SIZES, EmsYolo  # noqa: E402
from snn_detector_ros.training.spiking.firing import energy_ratio, measure_firing  # noqa: E402
from snn_detector_ros.training.spiking.lif import Lif, LifParameters  # noqa: E402
from snn_detector_ros.training.spiking.tdbn import PerStep  # noqa: E402


class Small(torch.nn.Module):
    """A stem that is computed once, then two steps of neurons and a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(1, 1, 1, bias=False)
        self.stem.weight.data.fill_(1.0)
        self.fire = Lif(LifParameters())
        self.read = PerStep(torch.nn.Conv2d(1, 3, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.read(self.fire(self.stem(x).expand(2, *x.shape)))


def test_counts_of_a_small_case() -> None:
    # Currents 0.6, 0.45, 0.1, 0.1: the first fires twice; the second at step 2 (0.45 + 0.1125).
    picture = torch.tensor([0.6, 0.45, 0.1, 0.1]).view(1, 1, 2, 2)
    stem, read = measure_firing(Small(), [picture, picture])
    assert (stem.name, stem.is_spiking, stem.synapses, stem.passes) == ('stem', False, 4, 1.0)
    assert (read.name, read.is_spiking, read.synapses, read.passes) == ('read.0', True, 12, 2.0)
    assert read.rate == 3 / 8
    # 4 multiply-accumulates, 12 * 2 * 3/8 = 9 additions; the twin multiplies 16 times.
    assert energy_ratio([stem, read]) == pytest.approx((4 * 4.6 + 9 * 0.9) / (16 * 4.6))


def test_a_detector_spikes_everywhere_but_at_its_ends() -> None:
    torch.manual_seed(0)
    model = EmsYolo(SIZES['ems-res10-narrow'], 2, [[(10.0, 14.0)] * 3] * 3, channels=1)
    bins = torch.randint(0, 3, (2, 4, 64, 64)) / 2
    model(bins)
    layers = measure_firing(model, [bins])
    real = [layer.name for layer in layers if not layer.is_spiking]
    assert real == ['stem.0', 'head.m.0', 'head.m.1', 'head.m.2']
    assert {layer.passes for layer in layers} == {4.0, 1.0}
    assert all(0 <= layer.rate < 1 for layer in layers if layer.is_spiking)
    # Four steps of additions: below the twin if fewer than 4.6 / 0.9 / 4 spikes a neuron and step.
    assert 0 < energy_ratio(layers) < 4
