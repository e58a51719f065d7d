# SPDX-License-Identifier: Apache-2.0
"""Spiking ResNets: isometry over depth, the twin of ordinary neurons, and a training run."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from snn_detector_ros.cli import train_classifier  # noqa: E402
from snn_detector_ros.errors import ConfigurationError  # noqa: E402
from snn_detector_ros.training.spiking.classification import (  # noqa: E402
    SHIFT,
    shifted_and_mirrored,
)
from snn_detector_ros.training.spiking.isometry import figure, gradient_norms  # noqa: E402
from snn_detector_ros.training.spiking.resnet import (  # noqa: E402
    SpikingBlock,
    SpikingResNet,
    ordinary,
    spiking,
)
from snn_detector_ros.training.spiking.tdbn import ConvTdbn, folded  # noqa: E402

DEPTH = 24


@pytest.mark.parametrize('gain', [0.5, 1.0, 2.0])
@pytest.mark.parametrize('seed', [0, 1])
def test_gradients_keep_their_norm_with_tdbn(gain: float, seed: int) -> None:
    norms = gradient_norms(DEPTH, normalised=True, gain=gain, seed=seed)
    # A factor of a few over 24 blocks, that is less than 8 % a block.
    assert 1 / 6 < min(norms) and max(norms) < 6


def test_gradients_vanish_or_explode_without() -> None:
    vanishing = gradient_norms(DEPTH, normalised=False, gain=0.5)
    exploding = gradient_norms(DEPTH, normalised=False, gain=2.0)
    assert vanishing[0] < 1e-3
    assert exploding[0] > 1e3


def test_the_figure_draws_every_curve() -> None:
    text = figure({'kept': [0.5, 1.0], 'gone': [0.0, 1e-4]})
    assert text.count('<polyline') == 2 and text.endswith('</svg>\n')


def test_the_twin_has_the_same_weights_and_other_neurons() -> None:
    torch.manual_seed(0)
    snn = SpikingResNet(10, spiking(), steps=2, width=8)
    torch.manual_seed(0)
    ann = SpikingResNet(10, ordinary(), steps=1, width=8)
    assert snn.state_dict().keys() == ann.state_dict().keys()
    for (name, a), (_, b) in zip(
            snn.named_parameters(), ann.named_parameters(), strict=True):
        assert a.shape == b.shape, name
        if a.ndim > 1:
            assert torch.equal(a, b), name
    # Batch normalisation starts at 1, tdBN at the threshold.
    assert ann.encode[1].weight.unique().tolist() == [1.0]
    assert snn.encode[1].weight.unique().tolist() == [0.5]


def test_all_but_the_first_convolution_see_spikes_only() -> None:
    model = SpikingResNet(10, spiking(), steps=3, width=8)
    real = []

    def check(name: str, x: torch.Tensor) -> None:
        if not set(x.unique().tolist()) <= {0.0, 1.0}:
            real.append(name)

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _, x, __, name=name: check(name, x[0]))
    model(torch.randn(2, 3, 32, 32))
    assert real == ['encode.0']


def test_normalised_shortcuts_are_a_switch() -> None:
    plain = SpikingBlock(8, 8, 1, spiking())
    normalised = SpikingBlock(8, 8, 1, spiking(), norm_identity=True)
    assert isinstance(plain.shortcut, torch.nn.Identity)
    assert isinstance(normalised.shortcut, ConvTdbn)


def test_folding_keeps_the_logits() -> None:
    torch.manual_seed(0)
    model = SpikingResNet(10, spiking(), steps=2, width=8).double()
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    model(x)
    model.eval()
    torch.testing.assert_close(folded(model)(x), model(x), rtol=1e-9, atol=1e-9)


def test_shift_and_mirror_show_parts_of_the_framed_picture() -> None:
    images = torch.arange(1, 65, dtype=torch.uint8).view(1, 8, 8, 1).expand(64, 8, 8, 3)
    moved = shifted_and_mirrored(images, torch.Generator().manual_seed(0))
    framed = np.pad(images[0].numpy(), ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
    windows = {}
    for top in range(2 * SHIFT + 1):
        for left in range(2 * SHIFT + 1):
            cut = framed[top:top + 8, left:left + 8]
            windows[cut.tobytes()] = windows[cut[:, ::-1].tobytes()] = (top, left)
    places = {windows[picture.numpy().tobytes()] for picture in moved}
    assert len(places) > 20


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Pictures whose class is a colour."""
    random = np.random.default_rng(0)
    for split, count in (('train', 100), ('test', 40)):
        labels = np.arange(count) % 4
        images = random.integers(0, 80, (count, 32, 32, 3), np.uint8)
        images[..., 0] += (labels % 2 * 150).astype(np.uint8)[:, None, None]
        images[..., 2] += (labels // 2 * 150).astype(np.uint8)[:, None, None]
        np.savez(tmp_path / f'{split}.npz', images=images, labels=labels)
    return tmp_path


def parse(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    train_classifier.add_arguments(parser)
    return parser.parse_args(options)


@pytest.mark.parametrize('model', train_classifier.MODEL_NAMES)
def test_train_then_resume(data: Path, model: str) -> None:
    out = data / 'run'
    options = (
        '--data', str(data), '--out', str(out), '--model', model, '--width', '8', '--batch', '10',
        '--threads', '1')
    assert train_classifier.run(parse(*options, '--epochs', '5')) == 0
    records = [json.loads(line) for line in (out / 'log.jsonl').read_text().splitlines()]
    assert [record['epoch'] for record in records] == [0, 1, 2, 3, 4]
    # Guessing is right in a quarter of the cases.
    assert records[-1]['accuracy'] > 0.6
    with pytest.raises(ConfigurationError, match='holds a run; add --resume'):
        train_classifier.run(parse(*options))
    with pytest.raises(ConfigurationError, match='width is 8, not 16'):
        train_classifier.run(parse(*options[:-4], '--width', '16', '--resume'))
    # A finished run stays as it is.
    assert train_classifier.run(parse(*options, '--resume')) == 0
    assert len((out / 'log.jsonl').read_text().splitlines()) == 5
