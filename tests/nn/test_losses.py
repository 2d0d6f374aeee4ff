"""The loss of a net that predicts its noise, against torch and autograd."""

import math

import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sk_mcdropout import BetaNLLLoss
from sk_mcdropout.nn import mean_and_log_variance, nll_scale, uncompiled


def test_beta_0_is_the_gaussian_likelihood_of_torch():
    torch.manual_seed(0)
    output, y = torch.randn(50, 4), torch.randn(50, 2)
    mean, log_variance = output.chunk(2, dim=1)
    expected = nn.GaussianNLLLoss(full=True, eps=1e-12)(mean, y, log_variance.exp())
    torch.testing.assert_close(BetaNLLLoss(0.0)(output, y), expected)


def test_beta_1_trains_the_mean_as_the_squared_error_does():
    torch.manual_seed(0)
    output, y = torch.randn(50, 2, requires_grad=True), torch.randn(50, 1)
    (gradient,) = torch.autograd.grad(BetaNLLLoss(1.0)(output, y), output)
    (expected,) = torch.autograd.grad(0.5 * nn.functional.mse_loss(output[:, :1], y), output)
    torch.testing.assert_close(gradient[:, :1], expected[:, :1])


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_the_likelihood_of_each_row_is_weighted_by_a_constant(beta):
    torch.manual_seed(0)
    output, y = torch.randn(7, 2, requires_grad=True), torch.randn(7, 1)
    (gradient,) = torch.autograd.grad(BetaNLLLoss(beta)(output, y), output)
    (plain,) = torch.autograd.grad(BetaNLLLoss(0.0)(output, y), output)
    variance = output[:, 1:].detach().exp()  # Seitzer et al. (2022), eq. 5
    torch.testing.assert_close(gradient, variance**beta * plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("log_variance", [-1e4, -100.0, 100.0, 1e4])
def test_extreme_log_variances_are_safe_and_find_the_way_back(dtype, log_variance):
    output = torch.tensor([[0.0, log_variance]], dtype=dtype, requires_grad=True)
    loss = BetaNLLLoss()(output, torch.ones(1, 1, dtype=dtype))
    (gradient,) = torch.autograd.grad(loss, output)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()
    assert gradient[0, 1].sign() == math.copysign(1, log_variance)


@pytest.mark.parametrize("beta", [-0.1, 1.5])
def test_a_beta_out_of_bounds_is_refused(beta):
    with pytest.raises(ValueError, match=rf"\[0, 1\]. Got {beta}"):
        BetaNLLLoss(beta)


def test_an_odd_output_is_refused():
    with pytest.raises(ValueError, match=r"Got the shape \(5, 3\)"):
        mean_and_log_variance(torch.zeros(5, 3))


def test_a_nat_is_worth_what_the_likelihood_says():
    torch.manual_seed(0)
    output, y = torch.randn(50, 4), torch.randn(50, 2)
    # The gradient of a loss over that of the negative log-likelihood of a row, by autograd.
    mean = output[:, :2].clone().requires_grad_()
    nll = 0.5 * ((y - mean) ** 2 / 0.7**2).sum(1).mean()
    mse = nn.functional.mse_loss(mean, y)
    ratio = torch.autograd.grad(mse, mean)[0] / torch.autograd.grad(nll, mean)[0]
    worth = nll_scale(nn.MSELoss(), mse, mean, noise=0.7)
    torch.testing.assert_close(ratio, torch.full_like(ratio, worth))
    assert_allclose(nll_scale(nn.MSELoss(), mse, mean), mse.item(), rtol=1e-6)  # 2 / 2 targets
    assert nll_scale(BetaNLLLoss(0.0), mse, output) == 0.5  # a mean over 2 targets
    assert nll_scale(nn.L1Loss(), mse, mean) == 1.0


@pytest.mark.parametrize("criterion", [nn.MSELoss(), BetaNLLLoss(0.0), nn.L1Loss()])
def test_a_compiled_loss_is_scaled_as_the_loss_itself(criterion):
    output, loss = torch.randn(50, 4), torch.tensor(3.0)
    compiled = torch.compile(criterion)
    assert uncompiled(compiled) is uncompiled(criterion) is criterion
    assert nll_scale(compiled, loss, output) == nll_scale(criterion, loss, output)


@pytest.mark.parametrize("shape", [(5,), (1, 5), (5, 2), (1, 1)])
def test_a_target_that_would_be_broadcast_is_refused(shape):
    match = rf"Got the shape \({', '.join(map(str, shape))},?\) for means of shape \(5, 1\)"
    with pytest.raises(ValueError, match=match):
        BetaNLLLoss()(torch.zeros(5, 2), torch.zeros(shape))
