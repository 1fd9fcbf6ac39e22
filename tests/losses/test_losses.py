import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import networks, random_tensor, seeds, sizes
from voxflate.losses import non_saturating_d, non_saturating_g, r1_penalty


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


@given(st.lists(st.tuples(st.floats(-20, 20), st.floats(-20, 20)), min_size=1, max_size=5))
def test_the_losses_are_minus_the_logarithms_of_the_probabilities(pairs):
    real, fake = (torch.tensor(values, dtype=torch.float64) for values in zip(*pairs, strict=True))
    n = len(pairs)
    loss_g = sum(-math.log(sigmoid(f)) for _, f in pairs) / n
    # 1 - sigmoid(x) as sigmoid(-x), which keeps its digits.
    loss_d = sum(-math.log(sigmoid(r)) - math.log(sigmoid(-f)) for r, f in pairs) / n
    assert non_saturating_g(fake).item() == pytest.approx(loss_g, rel=1e-9)
    assert non_saturating_d(real, fake).item() == pytest.approx(loss_d, rel=1e-9)


def test_the_generators_loss_does_not_saturate_where_it_is_refused():
    logits = torch.tensor([-100.0], requires_grad=True)
    non_saturating_g(logits).backward()
    assert logits.grad.item() == pytest.approx(-1)


@given(sizes(1, 4), st.integers(1, 4), seeds)
def test_r1_of_a_quadratic_critic_is_known(size, n, seed):
    """D(x) = sum a x^2 has the gradient 2 a x, so R1 = mean over samples of sum (2 a x)^2."""
    x = random_tensor(n, 2, *size, seed=seed)
    a = random_tensor(2, *size, seed=seed + 1).requires_grad_()
    penalty = r1_penalty(lambda images: (a * images.square()).flatten(1).sum(1), x)
    expected = sum((2 * a * one).square().sum() for one in x) / n
    torch.testing.assert_close(penalty, expected)
    (gradient,) = torch.autograd.grad(penalty, a)
    torch.testing.assert_close(gradient, sum(8 * a.detach() * one**2 for one in x) / n)
    assert not x.requires_grad


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("architecture", ["baseline", "depthwise-d", "split-shuffle"])
def test_r1_of_a_network_is_its_finite_difference(dims, architecture):
    _, discriminator = networks(dims, architecture)
    discriminator.double()
    x = random_tensor(1, 1, *discriminator.shape)
    penalty = r1_penalty(discriminator, x)
    step, total = 1e-5, 0.0
    with torch.no_grad():
        for index in range(x.numel()):
            move = torch.zeros_like(x)
            move.view(-1)[index] = step
            total += float((discriminator(x + move) - discriminator(x - move)) / (2 * step)) ** 2
    assert penalty.item() == pytest.approx(total, rel=1e-4)
    gradients = torch.autograd.grad(penalty, list(discriminator.parameters()), allow_unused=True)
    assert any(gradient is not None and gradient.any() for gradient in gradients)
