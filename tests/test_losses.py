"""Adversarial losses at closed-form values; the gradient penalty against analytic slopes and finite differences."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from golden_family import golden
from progan.losses import ADVERSARIAL, drift, gradient_penalty, least_squares
from references import losses as reference

REAL, FAKE = [-5, 1.4, 12.5, 2.7], [10, 4.4, -5.5, 3.6]  # of TensorFlow-GAN's losses_impl_test.py (PEERS 4.4)
REAL2, FAKE2 = [1.3, 2.9, 8.4, 6.3], [4.8, 1.2, -3.5, 5.9]  # of torchgan


def mean_sum(terms: dict[str, Tensor]) -> float:
    return float(sum(t.mean() for t in terms.values()))


@pytest.mark.parametrize(
    ("name", "real", "fake", "critic", "generator"),
    [
        ("wgan", REAL, FAKE, 0.225, -3.125),
        ("least_squares", REAL, FAKE, 41.73375, 17.69625),
        ("non_saturating", REAL, FAKE, 5.83386589, 1.38582),
        ("hinge", REAL, FAKE, 6.75, -3.125),
        ("wgan", REAL2, FAKE2, -2.625, -2.1),
        ("least_squares", REAL2, FAKE2, 19.76125, 7.3425),
        ("non_saturating", REAL2, FAKE2, 3.1251488363, 0.9509911630),
        ("hinge", [2.0], [2.0], 3.0, -2.0),
        ("hinge", [0.0], [-2.0], 1.0, 2.0),
    ],
)
def test_means_are_the_published_ones(
    name: str, real: list[float], fake: list[float], critic: float, generator: float
) -> None:
    loss, real, fake = ADVERSARIAL[name], torch.tensor(real), torch.tensor(fake)
    assert mean_sum(loss.critic(real, fake)) == pytest.approx(critic, abs=5e-6, rel=1e-6)
    assert mean_sum(loss.generator(fake)) == pytest.approx(generator, abs=5e-6, rel=1e-6)


@pytest.mark.parametrize("name", reference.CRITIC)
def test_terms_are_those_of_the_reference_sample_by_sample(name: str) -> None:
    rng = np.random.default_rng(0)
    real, fake = 3 * rng.standard_normal((2, 50))
    got = ADVERSARIAL[name].critic(torch.from_numpy(real), torch.from_numpy(fake))
    want_real, want_fake = reference.CRITIC[name](real, fake)
    assert set(got) == {"real", "fake"}
    np.testing.assert_allclose(got["real"], want_real, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(got["fake"], want_fake, rtol=1e-12, atol=1e-12)
    got = ADVERSARIAL[name].generator(torch.from_numpy(fake))
    assert set(got) == {"fake"}
    np.testing.assert_allclose(got["fake"], reference.GENERATOR[name](fake), rtol=1e-12, atol=1e-12)


# Loss and its factor of each name in the golden file, for D and for G; stylegan_logistic is the non-saturating one.
GOLDEN_FORMS = {
    ("gan_bce", "D_sum"): ("non_saturating", "critic", 1),
    ("gan_bce", "D_half"): ("non_saturating", "critic", 0.5),
    ("gan_bce", "G_nonsaturating"): ("non_saturating", "generator", 1),
    ("gan_bce", "G_saturating_log1mD"): ("saturating", "generator", 1),
    ("wgan", "critic_paper_max"): ("wgan", "critic", -1),
    ("wgan", "critic_loss_min"): ("wgan", "critic", 1),
    ("wgan", "G"): ("wgan", "generator", 1),
    ("lsgan_mean_half", "D"): ((0, 1, 1), "critic", 1),
    ("lsgan_mean_half", "G"): ((0, 1, 1), "generator", 1),
    ("lsgan_mean_cyclegan_code", "D"): ("least_squares", "critic", 1),
    ("lsgan_mean_cyclegan_code", "G"): ("least_squares", "generator", 2),
    ("lsgan_l2loss_sum_over_batch_code", "D"): ((0, 1, 1), "critic", 8),
    ("lsgan_l2loss_sum_over_batch_code", "G"): ((0, 1, 1), "generator", 8),
    ("lsgan_pearson_a_m1_b_1_c_0", "D"): ((-1, 1, 0), "critic", 1),
    ("lsgan_pearson_a_m1_b_1_c_0", "G"): ((-1, 1, 0), "generator", 1),
    ("hinge", "D"): ("hinge", "critic", 1),
    ("hinge", "G"): ("hinge", "generator", 1),
    ("stylegan_logistic", "D_mean"): ("non_saturating", "critic", 1),
    ("stylegan_logistic", "G_mean"): ("non_saturating", "generator", 1),
}


def golden_scores() -> tuple[Tensor, Tensor]:
    """Scores of real and of generated images, by the recipe in the file."""
    rs = np.random.RandomState(501)
    return torch.from_numpy(rs.randn(8) * 1.5 + 0.3), torch.from_numpy(rs.randn(8) * 1.5 - 0.4)


def test_golden_forms_are_all_of_the_file() -> None:
    named = {(name, part) for name, parts in golden("losses").items() if name != "recipe" for part in parts}
    assert named == set(GOLDEN_FORMS) | {("wgan_gp_progan_drift", "epsilon"), ("wgan_gp_progan_drift", "term")}


@pytest.mark.parametrize("form", GOLDEN_FORMS, ids="-".join)
def test_losses_on_the_golden_scores(form: tuple[str, str]) -> None:
    """To 1e-9, relative."""
    loss, side, factor = GOLDEN_FORMS[form]
    adversarial = ADVERSARIAL[loss] if isinstance(loss, str) else least_squares(a=loss[0], b=loss[1], c=loss[2])
    real, fake = golden_scores()
    terms = adversarial.critic(real, fake) if side == "critic" else adversarial.generator(fake)
    assert factor * mean_sum(terms) == pytest.approx(golden("losses")[form[0]][form[1]], rel=1e-9)


def test_drift_on_the_golden_scores() -> None:
    """To 1e-9, relative."""
    want = golden("losses")["wgan_gp_progan_drift"]
    assert want["epsilon"] * float(drift(golden_scores()[0]).mean()) == pytest.approx(want["term"], rel=1e-9)


def test_least_squares_has_its_minimum_at_the_given_constants() -> None:
    loss = least_squares(a=-0.5, b=2.0, c=0.7)
    assert mean_sum(loss.critic(torch.tensor([2.0]), torch.tensor([-0.5]))) == 0
    assert mean_sum(loss.generator(torch.tensor([0.7]))) == 0


def test_every_loss_is_tested() -> None:
    assert set(ADVERSARIAL) == set(reference.CRITIC) == set(reference.GENERATOR)


def test_non_saturating_does_not_overflow() -> None:
    far = torch.tensor([-1e4, 1e4], requires_grad=True)
    loss = ADVERSARIAL["non_saturating"]
    total = sum(t.sum() for t in [*loss.critic(far, far).values(), *loss.generator(far).values()])
    total.backward()
    assert total.item() == pytest.approx(3e4)
    assert torch.isfinite(far.grad).all()


def test_drift_is_the_square_of_each_score() -> None:
    assert drift(torch.tensor([-3.0, 0, 0.5])).tolist() == [9, 0, 0.25]


HALF = torch.full((2, 1, 1, 1), 0.5, dtype=torch.float64)


def images(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@pytest.mark.parametrize(("target", "want"), [(1.0, 9.0), (2.0, 1.0), (4.0, 0.0), (8.0, 0.25)])
def test_penalty_of_the_tensorflow_example(target: float, want: float) -> None:
    """D(x) = sum of 2x on four numbers: a slope of 4."""
    x = torch.zeros(3, 1, 1, 4)
    got = gradient_penalty(lambda x: 2 * x.sum((1, 2, 3)), x, x + 5, torch.rand(3, 1, 1, 1), target=target)
    assert got.tolist() == pytest.approx([want] * 3)


@pytest.mark.parametrize("target", [1.0, 750.0])
@pytest.mark.parametrize("enlarged", [1.0, 4.0])
def test_penalty_of_a_quadratic_critic(target: float, enlarged: float) -> None:
    """D(x) = <a, x^2> / 2 has slope a x, at the point that ``mix`` says, sample by sample."""
    real, fake, a = images(0, 4, 3, 4, 8), images(1, 4, 3, 4, 8), images(2, 3, 4, 8)
    mix = torch.tensor([0.0, 0.3, 0.9, 1.0], dtype=torch.float64).view(-1, 1, 1, 1)
    got = gradient_penalty(
        lambda x: (a * x.square()).sum((1, 2, 3)) / 2, real, fake, mix, target=target, enlarged=enlarged
    )
    points = torch.stack([real[0], 0.7 * real[1] + 0.3 * fake[1], 0.1 * real[2] + 0.9 * fake[2], fake[3]])
    norms = (a * points).square().sum((1, 2, 3)).sqrt() / enlarged
    np.testing.assert_allclose(got.detach(), ((norms - target) / target) ** 2, rtol=1e-12)


class SmoothCritic(torch.nn.Module):
    """Smooth everywhere, and the samples of a batch see each other, as in minibatch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.a = torch.nn.Parameter(images(3, 16, 12) / 4)
        self.b = torch.nn.Parameter(images(4, 12))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(x.flatten(1) @ self.a)
        return (y + y.mean(0).square()) @ self.b


def test_penalty_against_finite_differences_of_a_smooth_critic() -> None:
    """The slope by central differences of the summed scores (error about 1e-9)."""
    critic, real, fake = SmoothCritic().requires_grad_(False), images(5, 3, 1, 4, 4), images(6, 3, 1, 4, 4)
    mix = torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64).view(-1, 1, 1, 1)
    x, h = real + mix * (fake - real), 1e-5
    slope = torch.zeros_like(x)
    for i in np.ndindex(*x.shape):
        step = torch.zeros_like(x)
        step[i] = h
        slope[i] = (critic(x + step).sum() - critic(x - step).sum()) / (2 * h)
    want = (slope.square().sum((1, 2, 3)).sqrt() - 1) ** 2
    np.testing.assert_allclose(gradient_penalty(critic, real, fake, mix).detach(), want, rtol=1e-7)


def test_penalty_gradient_against_finite_differences_of_a_smooth_critic() -> None:
    """Double backward, for every single parameter."""
    critic, real, fake = SmoothCritic(), images(5, 3, 1, 4, 4), images(6, 3, 1, 4, 4)
    mix, h = torch.full((3, 1, 1, 1), 0.4, dtype=torch.float64), 1e-6

    def loss() -> Tensor:
        return gradient_penalty(critic, real, fake, mix, target=1.5, enlarged=2.0).sum()

    loss().backward()
    for parameter in critic.parameters():
        values, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in range(0, len(values), 5):
            kept = values[i].item()
            values[i] = kept + h
            high = loss().item()
            values[i] = kept - h
            low = loss().item()
            values[i] = kept
            assert gradient[i].item() == pytest.approx((high - low) / (2 * h), rel=1e-6, abs=1e-8)


def test_penalty_does_not_reach_the_images() -> None:
    real, fake = images(0, 2, 1, 4, 4).requires_grad_(True), images(1, 2, 1, 4, 4).requires_grad_(True)
    critic = SmoothCritic()
    gradient_penalty(critic, real, fake, HALF).sum().backward()
    assert real.grad is None
    assert fake.grad is None
    assert critic.a.grad.abs().sum() > 0


def test_penalty_of_a_flat_critic_has_finite_gradients() -> None:
    """The norm of a zero slope has no derivative; its parameters must still not become NaN."""
    critic = SmoothCritic()
    critic.b.data.zero_()
    value = gradient_penalty(critic, images(0, 2, 1, 4, 4), images(1, 2, 1, 4, 4), HALF)
    value.sum().backward()
    assert value.tolist() == [1, 1]
    assert all(torch.isfinite(p.grad).all() for p in critic.parameters())


@pytest.mark.parametrize("doublings", [1, 2, 3])
def test_slope_by_small_pixels_is_larger_by_the_missing_doublings(doublings: int) -> None:
    """D on 4x4 images, directly, and on the same images enlarged, which D first scales down again."""
    critic, real, fake = SmoothCritic(), images(5, 3, 1, 4, 4), images(6, 3, 1, 4, 4)
    mix, factor = images(7, 3, 1, 1, 1).sigmoid(), 2**doublings

    def slope_norm(score: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        x.requires_grad_(True)
        return torch.autograd.grad(score(x).sum(), x)[0].flatten(1).norm(dim=1)

    def reduced(x: Tensor) -> Tensor:
        return critic(x.unflatten(2, (4, factor)).unflatten(4, (4, factor)).mean((3, 5)))

    big_real, big_fake = (x.repeat_interleave(factor, 2).repeat_interleave(factor, 3) for x in (real, fake))
    ratio = slope_norm(critic, real.clone()) / slope_norm(reduced, big_real.clone())
    np.testing.assert_allclose(ratio, factor, rtol=1e-12)
    native = gradient_penalty(critic, real, fake, mix, target=0.7, enlarged=float(factor))
    big = gradient_penalty(reduced, big_real, big_fake, mix, target=0.7)
    np.testing.assert_allclose(native.detach(), big.detach(), rtol=1e-10)
