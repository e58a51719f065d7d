# SPDX-License-Identifier: Apache-2.0
"""The LIF neuron: a case computed by hand, the fused form against autograd and another library."""

import pytest

torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from snn_detector_ros.training.spiking.lif import Lif, LifParameters, lif_steps  # noqa: E402


@pytest.mark.parametrize('form', ['steps', 'fused'])
def test_spikes_and_gradient_of_a_case_computed_by_hand(form: str) -> None:
    # decay 1/4, threshold 1/2, window (0, 1) of height 1; dL/ds = 1, 2, 4.
    #   u = 0.4 (no spike), 0.1 + 0.5 = 0.6 (spike), 0 + 0.3 = 0.3 (no spike)
    neuron = LifParameters(detach_reset=False)
    x = torch.tensor([0.4, 0.5, 0.3], requires_grad=True)
    spikes = lif_steps(x, neuron) if form == 'steps' else Lif(neuron)(x)
    assert spikes.tolist() == [0, 1, 0]
    spikes.backward(torch.tensor([1.0, 2.0, 4.0]))
    # All u lie in the window, so dL/du(3) = 4.
    # u(3) = u(2) / 4 (1 - s(2)): dL/du(2) = 2 - 4 * 0.6 / 4 (reset) + 4 / 4 * 0 (decay) = 1.4
    # u(2) = u(1) / 4 (1 - s(1)): dL/du(1) = 1 - 1.4 * 0.4 / 4 + 1.4 / 4 = 1.21
    torch.testing.assert_close(x.grad, torch.tensor([1.21, 1.4, 4.0]))


@pytest.mark.parametrize('form', ['steps', 'fused'])
def test_a_detached_reset_passes_no_gradient(form: str) -> None:
    x = torch.tensor([0.4, 0.5, 0.3], requires_grad=True)
    spikes = lif_steps(x, LifParameters()) if form == 'steps' else Lif(LifParameters())(x)
    spikes.backward(torch.tensor([1.0, 2.0, 4.0]))
    # As above without the reset's terms: dL/du(2) = 2, dL/du(1) = 1 + 2 / 4.
    torch.testing.assert_close(x.grad, torch.tensor([1.5, 2.0, 4.0]))


def test_the_window_is_centred_on_the_threshold() -> None:
    neuron = LifParameters(threshold=1.0, width=0.5)
    x = torch.tensor([[0.7, 0.8, 1.0, 1.2, 1.3]], requires_grad=True)
    spikes = Lif(neuron)(x)
    # At the threshold there is no spike yet.
    assert spikes.tolist() == [[0, 0, 0, 1, 1]]
    spikes.sum().backward()
    assert x.grad.tolist() == [[0, 2, 2, 2, 0]]


@pytest.mark.parametrize('detach', [True, False])
@pytest.mark.parametrize('width', [1.0, 0.5])
@pytest.mark.parametrize('steps', [1, 2, 5])
def test_fused_equals_autograd(steps: int, width: float, detach: bool) -> None:
    generator = torch.Generator().manual_seed(steps)
    neuron = LifParameters(decay=0.5, width=width, detach_reset=detach)
    value = torch.randn(steps, 3, 4, 5, 6, generator=generator, dtype=torch.float64) + 0.3
    weight = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    gradients = []
    for form in (Lif(neuron), lambda x: lif_steps(x, neuron)):
        x = value.clone().requires_grad_()
        spikes = form(x)
        (spikes * weight).sum().backward()
        gradients.append((spikes.detach(), x.grad))
    torch.testing.assert_close(gradients[0], gradients[1])
    assert 0.1 < gradients[0][0].mean() < 0.9


def test_fused_keeps_the_memory_layout() -> None:
    x = torch.randn(8, 6, 5, 4).to(memory_format=torch.channels_last)
    spikes = Lif(LifParameters())(x.unflatten(0, (4, 2))).flatten(0, 1)
    assert spikes.is_contiguous(memory_format=torch.channels_last)


def test_repeated_current_may_be_a_view() -> None:
    once = torch.randn(1, 2, 3, requires_grad=True)
    spikes = Lif(LifParameters())(once.expand(4, 2, 3))
    spikes.sum().backward()
    copied = once.detach().repeat(4, 1, 1).requires_grad_()
    again = Lif(LifParameters())(copied)
    again.sum().backward()
    assert torch.equal(spikes, again)
    torch.testing.assert_close(once.grad, copied.grad.sum(0, keepdim=True))


@pytest.mark.parametrize('detach', [True, False])
def test_equals_spikingjelly(detach: bool) -> None:
    jelly = pytest.importorskip('spikingjelly.activation_based', reason='no second opinion here')
    del jelly
    from spikingjelly.activation_based import neuron as neurons
    from spikingjelly.activation_based import surrogate

    class Rectangle(surrogate.SurrogateFunctionBase):
        """u - threshold in, spikes out; window of width 1."""

        def __init__(self) -> None:
            super().__init__(alpha=1.0, spiking=True)

        def forward(self, u):
            return Step.apply(u)

    class Step(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            ctx.save_for_backward(u)
            return (u > 0).to(u.dtype)

        @staticmethod
        def backward(ctx, gradient):
            return gradient * (ctx.saved_tensors[0].abs() < 0.5)

    # Its LIF without input decay: v - v / tau + x, so decay = 1 - 1 / tau.
    theirs = neurons.LIFNode(
        tau=4 / 3, decay_input=False, v_threshold=0.5, v_reset=0.0,
        surrogate_function=Rectangle(), detach_reset=detach, step_mode='m')
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(6, 200, generator=generator, dtype=torch.float64) + 0.2
    results = []
    for layer in (theirs, Lif(LifParameters(detach_reset=detach))):
        x = value.clone().requires_grad_()
        spikes = layer(x)
        (spikes * torch.arange(1200.0).view(6, 200)).sum().backward()
        results.append((spikes.detach(), x.grad))
    torch.testing.assert_close(results[0], results[1])
