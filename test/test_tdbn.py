# SPDX-License-Identifier: Apache-2.0
"""Threshold-dependent batch normalisation: what it makes of currents, and how it folds away."""

import math

import pytest

torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from snn_detector_ros.training.spiking.ems_yolo import SIZES, EmsYolo  # noqa: E402
from snn_detector_ros.training.spiking.tdbn import (  # noqa: E402
    ConvTdbn,
    TdBatchNorm,
    concatenated,
    folded,
)

ANCHORS = [[(10.0, 14.0), (23.0, 27.0), (37.0, 58.0)]] * 3


@pytest.mark.parametrize('alpha', [1.0, 1 / math.sqrt(2), 0.2])
@pytest.mark.parametrize('threshold', [0.5, 1.0])
def test_currents_start_with_deviation_alpha_times_threshold(
        alpha: float, threshold: float) -> None:
    torch.manual_seed(0)
    layer = ConvTdbn(6, 5, 3, 1, threshold=threshold, alpha=alpha)
    spikes = (torch.rand(4, 8, 6, 20, 20) < 0.2).float()
    current = layer(spikes)
    # Over time, batch and space together: the normalisation is exact up to eps = 1e-5 against
    # variances above 0.05.
    per_channel = current.transpose(0, 2).flatten(1)
    torch.testing.assert_close(
        per_channel.std(1, correction=0), torch.full((5,), alpha * threshold), rtol=1e-3, atol=0)
    torch.testing.assert_close(per_channel.mean(1), torch.zeros(5), atol=1e-5, rtol=0)


def test_running_variance_is_unbiased() -> None:
    layer = TdBatchNorm(1, 0.5)
    x = torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1, 1)
    layer(x)
    # momentum 0.1: 0.9 * 1 + 0.1 * var, var with n - 1.
    torch.testing.assert_close(layer.running_var, torch.tensor([0.9 + 0.1 * 7 / 3]))
    torch.testing.assert_close(layer.running_mean, torch.tensor([0.1 * 7 / 3]))


def test_folding_is_exact() -> None:
    torch.manual_seed(1)
    layer = ConvTdbn(6, 5, 3, 2, threshold=0.5).double()
    for _ in range(3):
        layer(torch.randn(4, 2, 6, 9, 9, dtype=torch.float64))
    with torch.no_grad():
        layer[1].weight.uniform_(0.2, 2)
        layer[1].bias.uniform_(-1, 1)
    layer.eval()
    x = torch.randn(4, 2, 6, 9, 9, dtype=torch.float64)
    merged = folded(layer)
    assert [type(part) for part in merged] == [torch.nn.Conv2d]
    # A few roundings of float64 in sums of 54 products.
    torch.testing.assert_close(merged(x), layer(x), rtol=1e-12, atol=1e-12)


def test_a_folded_network_has_no_normalisation_and_the_same_output() -> None:
    torch.manual_seed(2)
    model = EmsYolo(SIZES['ems-res10-narrow'], 2, ANCHORS, channels=1).double()
    bins = torch.randint(0, 3, (2, 4, 64, 96)).double() / 2
    model(bins)
    model.eval()
    merged = folded(model)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in merged.modules())
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
    # In float64 no membrane lies within rounding of the threshold, so all spikes are equal.
    for a, b in zip(merged(bins), model(bins), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_concatenation_keeps_channels_last() -> None:
    a, b = (torch.randn(6, c, 4, 5).to(memory_format=torch.channels_last) for c in (3, 2))
    joined = concatenated(a.unflatten(0, (2, 3)), b.unflatten(0, (2, 3)))
    assert torch.equal(joined, torch.cat((a, b), 1).unflatten(0, (2, 3)))
    assert joined.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
