# SPDX-License-Identifier: Apache-2.0
"""
LIF and tdBN + LIF as Triton kernels, next to the torch code that they replace on a GPU.

Triton's interpreter runs them. Inputs are such that rounding can neither make nor prevent a spike,
nor move a membrane out of the surrogate's window: in float64, no membrane is so close to any of
these limits (MARGIN).
"""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')
pytest.importorskip('triton', reason='triton is not installed (extra: gpu)')

from snn_detector_ros.errors import ConfigurationError  # noqa: E402
from snn_detector_ros.training.spiking import lif_fused  # noqa: E402
from snn_detector_ros.training.spiking.blocks import ResidualBlock  # noqa: E402
from snn_detector_ros.training.spiking.lif import Lif, LifParameters  # noqa: E402
from snn_detector_ros.training.spiking.resnet import SpikingResNet, spiking  # noqa: E402
from snn_detector_ros.training.spiking.tdbn import TdBatchNorm  # noqa: E402

MARGIN = 1e-5
#: A dozen roundings of float32 (6e-8 each) in numbers below 10, and sums of a few hundred of them.
TOLERANCE = {'rtol': 1e-5, 'atol': 2e-5}
NEURONS = [
    LifParameters(),
    LifParameters(detach_reset=False),
    LifParameters(decay=0.7, threshold=0.8, width=0.6, detach_reset=False),
]
CHANNELS_LAST, NCHW = torch.channels_last, torch.contiguous_format


def is_clear(currents: torch.Tensor, neuron: LifParameters) -> bool:
    """Whether no membrane is near the threshold or an end of the window."""
    membrane = torch.zeros_like(currents[0])
    for current in currents:
        membrane = neuron.decay * membrane * (membrane <= neuron.threshold) + current
        for limit in (-neuron.width / 2, 0, neuron.width / 2):
            if ((membrane - neuron.threshold - limit).abs() < MARGIN).any():
                return False
    return True


def draw(
        shape: tuple[int, ...], neuron: LifParameters,
        currents: Callable[[torch.Tensor], torch.Tensor] = lambda x: x,
        dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return values whose currents are clear, in float64, but such as ``dtype`` can hold."""
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        x = (torch.randn(shape, generator=generator) + 0.3).to(dtype).double()
        if is_clear(currents(x), neuron):
            return x
    raise AssertionError('no clear input')


def laid_out(x: torch.Tensor, memory_format: torch.memory_format) -> torch.Tensor:
    flat = x.flatten(0, 1).contiguous(memory_format=memory_format)
    return flat.unflatten(0, x.shape[:2])


def weights_like(x: torch.Tensor) -> torch.Tensor:
    """Return a gradient of the spikes that differs everywhere."""
    return torch.linspace(-1, 1, x.numel(), dtype=torch.float64).reshape(x.shape).to(x.dtype)


def spikes_and_gradients(function: Callable, x: torch.Tensor, *parameters: torch.Tensor) -> list:
    x = x.detach().requires_grad_()
    spikes = function(x)
    gradients = torch.autograd.grad(spikes, (x, *parameters), weights_like(spikes))
    return [spikes.detach(), *gradients]


@pytest.mark.parametrize('neuron', NEURONS)
@pytest.mark.parametrize('shape', [(1, 700), (2, 2, 3, 5, 7), (5, 3, 70, 3, 3)])
@pytest.mark.parametrize('memory_format', [CHANNELS_LAST, NCHW])
def test_lif_equals_torch(
        shape: tuple[int, ...], neuron: LifParameters, memory_format: torch.memory_format) -> None:
    exact = draw(shape, neuron)
    if len(shape) == 5:
        exact = laid_out(exact, memory_format)
    spikes, gradient = spikes_and_gradients(
        lambda x: lif_fused.fused_lif(x, neuron), exact.float())
    expected, exact_gradient = spikes_and_gradients(Lif(neuron), exact)
    assert torch.equal(spikes, expected.float())
    assert 0.1 < spikes.mean() < 0.9
    assert spikes.stride() == gradient.stride() == exact.stride()
    torch.testing.assert_close(gradient, exact_gradient.float(), **TOLERANCE)


@pytest.mark.parametrize('view', ['repeated', 'gaps', 'gradient with gaps', 'scalar steps'])
def test_lif_takes_any_view(view: str) -> None:
    neuron = NEURONS[1]
    x = torch.linspace(-0.4, 1.1, 4 * 3 * 5, dtype=torch.float64).view(4, 3, 5)
    form = {
        'repeated': lambda x: x[:1].expand(4, 3, 5),
        'gaps': lambda x: x[:, :, ::2],
        'gradient with gaps': lambda x: x,
        'scalar steps': lambda x: x[:, 0, 0],
    }[view]
    results = []
    for function in (lambda x: lif_fused.fused_lif(x, neuron), Lif(neuron)):
        leaf = x.clone().requires_grad_()
        spikes = function(form(leaf))
        (spikes[..., ::2].sum() if view == 'gradient with gaps' else spikes.sum()).backward()
        results.append((spikes.detach(), leaf.grad))
    # In float64 both do the same up to the last digits.
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_that_of_memory(dtype: torch.dtype) -> None:
    neuron = LifParameters(decay=0.9, threshold=1.0, detach_reset=False)
    exact = draw((5, 1, 4, 9, 9), neuron, dtype=dtype)
    spikes, gradient = spikes_and_gradients(
        lambda x: lif_fused.fused_lif(x, neuron), exact.to(dtype))
    leaf = exact.clone().requires_grad_()
    expected = Lif(neuron)(leaf)
    assert spikes.dtype == gradient.dtype == dtype
    assert torch.equal(spikes.double(), expected)
    (exact_gradient,) = torch.autograd.grad(expected, leaf, weights_like(spikes).double())
    # Only the result is rounded.
    torch.testing.assert_close(
        gradient.double(), exact_gradient, rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_membranes_of_half_precision_currents_are_float32() -> None:
    neuron = LifParameters(decay=0.9, threshold=1.0)
    first = torch.linspace(0.6, 0.9, 50).half()
    # Above the threshold by less than half a unit in the last place of float16, which is 2^-10.
    second = (1.00025 - neuron.decay * first.double()).half()
    membrane = neuron.decay * first.double() + second.double()
    assert (membrane > 1).all() and (membrane < 1 + 2 ** -11).all()
    x = torch.stack((first, second))
    assert lif_fused.fused_lif(x, neuron).mean(1).tolist() == [0, 1]
    assert Lif(neuron)(x).mean(1).tolist() == [0, 0]


def normalisation(channels: int, *, dtype: torch.dtype = torch.float64, **options) -> TdBatchNorm:
    norm = TdBatchNorm(channels, 0.5).to(dtype)
    for name, value in options.items():
        setattr(norm, name, value)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.3, 0.9, channels))
        norm.bias.copy_(torch.linspace(-0.2, 0.4, channels))
        norm.running_mean.copy_(torch.linspace(0.4, 0.2, channels))
        norm.running_var.copy_(torch.linspace(0.8, 1.3, channels))
    return norm


def normalised(norm: TdBatchNorm) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: norm(x.flatten(0, 1)).unflatten(0, x.shape[:2])


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize(('shape', 'neuron', 'memory_format'), [
    ((1, 3, 5, 5, 7), NEURONS[0], CHANNELS_LAST),
    ((5, 2, 70, 3, 5), NEURONS[2], CHANNELS_LAST),
    ((5, 2, 3, 9, 9), NEURONS[0], NCHW),
    ((2, 3, 2, 19, 20), NEURONS[1], NCHW)])
def test_tdbn_and_lif_equal_torch(
        shape: tuple[int, ...], neuron: LifParameters, memory_format: torch.memory_format,
        training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # So that more than one program writes sums.
    monkeypatch.setattr(lif_fused, 'MAX_TILES', 2)
    twin, norm = (normalisation(shape[2], dtype=t).train(training)
                  for t in (torch.float64, torch.float32))
    probe = normalised(normalisation(shape[2]).train(training))
    exact = laid_out(draw(shape, neuron, lambda x: probe(x).detach()), memory_format)
    actual = spikes_and_gradients(
        lambda x: lif_fused.fused_tdbn_lif(x, norm, neuron), exact.float(), norm.weight, norm.bias)
    expected = spikes_and_gradients(
        lambda x: Lif(neuron)(normalised(twin)(x)), exact, twin.weight, twin.bias)
    assert torch.equal(actual[0], expected[0].float())
    assert 0.1 < actual[0].mean() < 0.9
    assert actual[0].stride() == actual[1].stride() == exact.stride()
    for gradient, exact_gradient in zip(actual[1:], expected[1:], strict=True):
        torch.testing.assert_close(gradient, exact_gradient.float(), **TOLERANCE)
    for name, value in norm.state_dict().items():
        torch.testing.assert_close(value, twin.state_dict()[name].to(value.dtype), **TOLERANCE)


@pytest.mark.parametrize('options', [
    {}, {'momentum': None}, {'track_running_stats': False},
    {'running_mean': None, 'running_var': None, 'training': False}])
def test_averages_are_those_of_batch_normalisation(options: dict) -> None:
    neuron = LifParameters()
    norm, twin = (normalisation(3) for _ in range(2))
    for name, value in options.items():
        setattr(norm, name, value)
        setattr(twin, name, value)
    generator = torch.Generator().manual_seed(3)
    for _ in range(2):
        x = torch.randn(2, 2, 3, 3, 3, generator=generator, dtype=torch.float64) * 3 + 40
        spikes = lif_fused.fused_tdbn_lif(x, norm, neuron)
        assert torch.equal(spikes, Lif(neuron)(normalised(twin)(x)))
    for name, value in norm.state_dict().items():
        torch.testing.assert_close(value, twin.state_dict()[name], rtol=1e-12, atol=1e-12)


def test_currents_far_from_zero_keep_their_variance() -> None:
    # A variance that is the difference of two large squares has nothing of float32 left here.
    generator = torch.Generator().manual_seed(4)
    exact = torch.randn(2, 3, 4, 8, 8, generator=generator).add(3000).double()
    norm = normalisation(4, dtype=torch.float32, momentum=1.0)
    lif_fused.fused_tdbn_lif(exact.float(), norm, LifParameters())
    variance = exact.transpose(0, 2).flatten(1).var(1)
    torch.testing.assert_close(norm.running_var, variance.float(), rtol=1e-5, atol=0)


def test_one_value_has_no_variance() -> None:
    with pytest.raises(ConfigurationError, match='one value a channel'):
        lif_fused.fused_tdbn_lif(torch.ones(1, 1, 3, 1, 1), normalisation(3), LifParameters())


@pytest.mark.parametrize(('model', 'shape', 'kernels'), [
    (lambda: ResidualBlock(4, 6, 3, 2, neuron=LifParameters(), hidden=3), (2, 2, 4, 6, 6),
     ['lif', 'tdbn_lif', 'lif']),
    (lambda: SpikingResNet(3, spiking(), steps=2, width=4, depths=(1, 1)), (2, 3, 8, 8),
     ['lif', *2 * ['tdbn_lif', 'lif']]),
], ids=['EMS-YOLO', 'STBP-tdBN'])
def test_networks_do_the_same_with_kernels(
        model: Callable[[], torch.nn.Module], shape: tuple[int, ...], kernels: list[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    network = model().double()
    x = torch.randn(shape, dtype=torch.float64).requires_grad_()
    start = {name: value.clone() for name, value in network.state_dict().items()}
    results = []
    calls: list[str] = []

    def noting(name: str, function: Callable) -> Callable:
        return lambda *args: calls.append(name) or function(*args)

    for name in ('lif', 'tdbn_lif'):
        monkeypatch.setattr(
            lif_fused, f'fused_{name}', noting(name, getattr(lif_fused, f'fused_{name}')))
    for is_fused in (False, True):
        network.load_state_dict(start)
        monkeypatch.setattr(lif_fused, 'can_fuse', lambda x, answer=is_fused: answer)
        network.zero_grad()
        y = network(x)
        gradients = torch.autograd.grad(y, [x, *network.parameters()], weights_like(y))
        results.append([value.detach().clone() for value in (
            y, *gradients, *network.state_dict().values())])
    assert calls == kernels
    # Float64, in which no membrane lies within rounding of a limit.
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


def test_kernels_are_for_gpus_with_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnGpu(SimpleNamespace):
        is_cuda, size = True, 10

        def __len__(self) -> int:
            return self.steps

        def numel(self) -> int:
            return self.size * self.steps

    assert not lif_fused.can_fuse(torch.ones(2, 3))
    assert lif_fused.can_fuse(OnGpu(steps=lif_fused.MAX_STEPS))
    # More steps than registers.
    assert not lif_fused.can_fuse(OnGpu(steps=lif_fused.MAX_STEPS + 1))
    # More than int32 can count.
    assert not lif_fused.can_fuse(OnGpu(steps=2, size=2 ** 31))
    monkeypatch.setattr(lif_fused, '_has_triton', lambda: False)
    assert not lif_fused.can_fuse(OnGpu(steps=2))
