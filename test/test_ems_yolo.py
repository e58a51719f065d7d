# SPDX-License-Identifier: Apache-2.0
"""EMS-YOLO: published sizes, spikes everywhere, time, and learning."""

import pytest

torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from snn_detector_ros.training.loss import DetectionLoss  # noqa: E402
from snn_detector_ros.training.spiking.blocks import (  # noqa: E402
    ConcatShortcut,
    ProjectionShortcut,
    ResidualBlock,
)
from snn_detector_ros.training.spiking.ems_yolo import NEURON, SIZES, EmsYolo  # noqa: E402
from snn_detector_ros.training.spiking.lif import Lif  # noqa: E402

LEVEL = [(10.0, 14.0), (23.0, 27.0), (37.0, 58.0)]


def network(name: str, classes: int = 2, **options: object) -> EmsYolo:
    torch.manual_seed(0)
    size = SIZES[name]
    return EmsYolo(size, classes, [LEVEL] * size.levels, **options)


def event_bins(count: int = 2, bins: int = 4, height: int = 64, width: int = 96) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.tensor([0, 127, 255])[
        torch.randint(0, 3, (count, bins, height, width), generator=generator)] / 255


@pytest.mark.parametrize(('name', 'classes', 'millions'), [
    ('ems-res10', 2, 6.207), ('ems-res18', 2, 9.343), ('ems-res34', 80, 34.03),
    ('ems-res34-cat', 80, 25.45), ('ems-res34', 20, 33.889)])
def test_published_parameter_counts(name: str, classes: int, millions: float) -> None:
    with torch.device('meta'):
        model = network(name, classes)
    count = sum(p.numel() for p in model.parameters()) / 1e6
    digits = len(str(millions).split('.')[1])
    assert round(count, digits) == millions


@pytest.mark.parametrize('name', ['ems-res10', 'ems-res18', 'ems-res34', 'ems-res10-narrow'])
def test_every_convolution_but_the_first_and_the_head_sees_spikes_only(name: str) -> None:
    model = network(name)
    seen = {}

    def note(layer: str, values: torch.Tensor) -> None:
        seen[layer] = set(values.unique().tolist()) <= {0.0, 1.0}

    for layer, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda _, inputs, __, layer=layer: note(layer, inputs[0]))
    model(event_bins())
    real = {layer for layer, spikes in seen.items() if not spikes}
    assert real == {'stem.0', *(f'head.m.{k}' for k in range(SIZES[name].levels))}


@pytest.mark.parametrize('name', SIZES)
def test_maps_have_the_shapes_of_their_strides(name: str) -> None:
    model = network(name, classes=3).eval()
    with torch.no_grad():
        maps = model(event_bins(1, 2))
    strides = (8, 16, 32)[-SIZES[name].levels:]
    assert [tuple(y.shape) for y in maps] == [(1, 3, 64 // s, 96 // s, 8) for s in strides]


def test_a_frame_is_encoded_once_and_equals_its_repetition() -> None:
    model = network('ems-res10', steps=3).eval()
    frame = torch.rand(2, 3, 64, 64)
    calls = []
    model.stem[0].register_forward_hook(lambda _, inputs, __: calls.append(inputs[0].shape))
    currents = model.currents(frame)
    assert calls == [frame.shape] and currents.shape[:3] == (3, 2, 32)
    repeated = model.stem(frame.expand(3, *frame.shape))
    torch.testing.assert_close(currents, repeated)


def test_the_head_reads_the_mean_over_time() -> None:
    model = network('ems-res10-narrow', channels=1).eval()
    features = []
    model.out5.register_forward_hook(lambda _, __, output: features.append(output))
    with torch.no_grad():
        maps = model(event_bins())
        each = [model.head.m[2](x) for x in features[0]]
    mean = torch.stack(each).mean(0).view(2, 3, 7, 2, 3).permute(0, 1, 3, 4, 2)
    # The same sum in another order, in float32.
    torch.testing.assert_close(maps[2], mean, rtol=1e-4, atol=1e-5)


def test_places_without_events_are_zero_like_the_padding() -> None:
    model = network('ems-res10-narrow', channels=1)
    seen = []
    model.stem[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    model.currents(event_bins())
    assert {round(v, 3) for v in seen[0].unique().tolist()} == {-0.996, 0.0, 1.004}


def test_shortcuts_have_the_published_form() -> None:
    options = {'neuron': NEURON, 'hidden': 8}
    ms = ResidualBlock(8, 16, stride=2, full_spike=False, **options)
    ems1 = ResidualBlock(8, 16, stride=2, **options)
    ems2 = ResidualBlock(8, 16, stride=2, concat=True, **options)
    assert isinstance(ms.shortcut, ProjectionShortcut)
    assert isinstance(ems2.shortcut, ConcatShortcut)
    count = [sum(isinstance(m, Lif) for m in b.shortcut.modules()) for b in (ms, ems1, ems2)]
    assert count == [0, 1, 1]
    x = torch.randn(2, 1, 8, 6, 6)
    # The reused channels come last: the largest membranes of the input, untouched.
    pooled = torch.nn.functional.max_pool2d(x.flatten(0, 1), 2).unflatten(0, (2, 1))
    assert torch.equal(ems2.shortcut(x)[:, :, 8:], pooled)
    assert isinstance(ResidualBlock(8, 8, **options).shortcut, torch.nn.Identity)


def test_learns_one_window() -> None:
    model = network('ems-res10-narrow', channels=1)
    bins = event_bins(2)
    targets = torch.tensor([[0, 0, 0.4, 0.5, 0.2, 0.4], [1, 1, 0.6, 0.4, 0.3, 0.5]])
    loss = DetectionLoss(model.head.anchors, 2, 96)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    values = []
    for _ in range(40):
        parts = loss(model(bins), targets)
        total = parts.box + parts.objectness + parts.classes
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(float(total.detach()))
    assert values[-1] < 0.6 * values[0]
