"""Images and fades in float32 where the networks compute in 16 bits; float32 and float64 as they always were."""

import pytest
import torch
from torch import Tensor, nn

from progan.gans import MNIST1KConfig, ProGANConfig
from progan.gans.base import GAN, ImageSpec
from progan.ops import fade, fade_images
from small import batch_with

SPEC, LEVEL = ImageSpec(3, 32, 32), 3
GANS = {
    "progan": ProGANConfig(fmap_base=64, fmap_max=16, latent_size=64),
    "progan, tanh": ProGANConfig(fmap_base=64, fmap_max=16, latent_size=64, tanh=True),
    "mnist_1k": MNIST1KConfig(),
    "mnist_1k, ours": MNIST1KConfig(normalization="ours"),
}
HALF = [torch.bfloat16, torch.float16]


@pytest.fixture(params=GANS)
def gan(request: pytest.FixtureRequest) -> GAN:
    return GANS[request.param].make(SPEC)


def images_at(network: nn.Module, alpha: float | None, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    z = torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), torch.autocast("cpu", dtype):
        return network.eval()(z, LEVEL, None if alpha is None else torch.tensor(alpha))


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_images_are_not_rounded_to_8_bits(gan: GAN, alpha: float | None, dtype: torch.dtype) -> None:
    images = images_at(gan.sampler, alpha, dtype)
    assert images.dtype == torch.float32
    # 12,288 numbers, at most three of four equal: by upscaling, in the part that is faded out.
    assert len(images.unique()) > 2000
    assert not torch.equal(images, images.to(dtype).float())


@pytest.mark.parametrize("alpha", [0.001, 0.999])
def test_small_weights_in_a_fade_have_their_effect(gan: GAN, alpha: float) -> None:
    old, new, mixed = (images_at(gan.sampler, a).double() for a in (0.0, 1.0, alpha))
    # float32 rounds at 6e-8 of numbers of about 1; a weight in bfloat16 would be wrong by 2e-6 and 1e-3.
    torch.testing.assert_close(mixed, old + alpha * (new - old), rtol=0, atol=5e-7)
    assert (mixed - old).abs().max() > 1e-4
    assert (mixed - new).abs().max() > 1e-4


@pytest.mark.parametrize("alpha", [0.001, 0.999])
def test_the_discriminator_fades_what_it_has_in_16_bits_in_32(gan: GAN, alpha: float, monkeypatch) -> None:
    mixed = []
    lerp = torch.lerp

    def spy(*args: Tensor) -> Tensor:
        mixed.append(args)
        return lerp(*args)

    monkeypatch.setattr(torch, "lerp", spy)
    with torch.autocast("cpu", torch.bfloat16):
        score = gan.networks["discriminator"](torch.randn(4, 3, 32, 32), LEVEL, torch.tensor(alpha))
    assert [x.dtype for x in mixed[0]] == [torch.float32] * 3
    assert mixed[0][2] == torch.tensor(alpha)
    assert score.dtype == torch.float32


@pytest.mark.parametrize("dtype", [*HALF, torch.float32, torch.float64])
def test_fade_is_a_line(dtype: torch.dtype) -> None:
    old, new = torch.randn(2, 3, 4, 5, 5).to(dtype)
    for alpha in (0.0, 0.001, 0.5, 0.999, 1.0):
        mixed = fade(old, new, torch.tensor(alpha, dtype=torch.float64))
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        assert mixed.dtype == wide
        assert torch.equal(mixed, torch.lerp(old.to(wide), new.to(wide), torch.tensor(alpha, dtype=wide)))
        torch.testing.assert_close(
            mixed.double(), old.double() + alpha * (new.double() - old.double()), rtol=0, atol=1e-6
        )


def test_real_images_fade_in_float32() -> None:
    images, alpha = torch.rand(2, 3, 8, 8), torch.tensor(0.999)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fade_images(images, alpha), fade_images(images, alpha).float())
        faded = fade_images(images, alpha)
    assert torch.equal(faded, fade_images(images, alpha))


@pytest.mark.parametrize("first", [0, 3])
def test_classes_of_samples_go_by_position(first: int) -> None:
    """So that a sheet that is made in pieces shows what one made at once shows."""
    seen: list[Tensor] = []
    gan = ProGANConfig(fmap_base=64, fmap_max=8, latent_size=8, conditional=True).make(ImageSpec(3, 8, 8, classes=4))
    batch = batch_with(torch.zeros(6, 3, 8, 8), normal=lambda stream, *shape: torch.ones(6, *shape))
    object.__setattr__(batch, "positions", torch.arange(first, first + 6))
    gan.samples(lambda z, level, alpha, labels: seen.append(labels), batch)  # type: ignore[arg-type]
    assert seen[0].tolist() == [(first + i) % 4 for i in range(6)]
