import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import networks, random_tensor, seeds, sizes
from voxflate.losses import (
    gradient_penalty,
    kl_to_normal,
    l1_reconstruction,
    non_saturating_d,
    non_saturating_g,
    r1_penalty,
    wasserstein_d,
    wasserstein_g,
)


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


@given(sizes(1, 4), st.integers(1, 4), seeds)
def test_the_gradient_penalty_of_a_linear_critic_is_known(size, n, seed):
    """D(x) = a x has the gradient a everywhere, so the penalty is (|a| - 1)^2 wherever the points lie."""
    reals, fakes = (random_tensor(n, 2, *size, seed=seed + i) for i in range(2))
    a = random_tensor(2, *size, seed=seed + 2).requires_grad_()
    penalty = gradient_penalty(lambda x: (a * x).flatten(1).sum(1), reals, fakes)
    torch.testing.assert_close(penalty, (a.detach().norm() - 1) ** 2)
    (gradient,) = torch.autograd.grad(penalty, a)
    torch.testing.assert_close(gradient, 2 * (a.norm() - 1).detach() * a.detach() / a.detach().norm())
    assert not reals.requires_grad
    assert not fakes.requires_grad


@given(st.integers(1, 5), seeds)
def test_the_gradient_penalty_is_taken_at_points_drawn_between_each_pair(n, seed):
    """D(x) = |x|^2 / 2 has the gradient x: its norm tells where on the line each point lies."""
    reals, fakes, seen = torch.full((n, 3), 3.0), torch.full((n, 3), 1.0), []

    def critic(x):
        seen.append(x.detach())
        return x.square().sum(1) / 2

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        penalty = gradient_penalty(critic, reals, fakes)
    (points,) = seen
    assert (points >= 1).all()
    assert (points <= 3).all()
    assert (points == points[:, :1]).all()  # one share for a sample
    assert len({float(point) for point in points[:, 0]}) == n
    expected = ((points.norm(dim=1) - 1) ** 2).mean()
    torch.testing.assert_close(penalty, expected)


def test_the_wasserstein_losses_are_differences_of_means():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([-1.0, 0.0])
    assert wasserstein_d(real, fake).item() == -2.5
    assert wasserstein_g(fake).item() == 0.5


@given(st.integers(1, 4), st.integers(1, 6), seeds)
def test_the_kl_is_that_of_the_distributions(n, z_dim, seed):
    mean, log_variance = (random_tensor(n, z_dim, seed=seed + i) for i in range(2))
    codes = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(codes, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(kl_to_normal(mean, log_variance), expected)


def test_the_reconstruction_error_is_a_voxels_mean():
    images = torch.zeros(2, 1, 2, 2, 2)
    assert l1_reconstruction(images, images + 0.25).item() == 0.25
