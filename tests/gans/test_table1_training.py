"""Every preset of progressive networks trains; ablations and LSGAN go on bit for bit, and in parts if they allow it."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from progan.data.loader import Loader
from progan.data.store import Store
from progan.errors import ConfigError
from progan.gans import ProGANConfig
from progan.gans.base import ImageSpec
from progan.presets import PRESETS
from progan.training.config import RunConfig
from progan.training.loop import Trainer

PROGAN = [name for name, make in PRESETS.items() if isinstance(make().gan, ProGANConfig)]


def small(name: str, *, classes: int = 0, **more: Any) -> RunConfig:
    """A preset at 16x16 with at most 8 maps and batches of 8; where it grows, its stages are 32 images long."""
    config = PRESETS[name]()
    start = 16 if config.schedule.start_resolution == config.schedule.resolution else 4
    times: dict[str, Any] = {"hold_kimg": 0.032, "fade_kimg": 0.032, "total_kimg": 0.16, "batch": 8}
    schedule = replace(config.schedule, resolution=16, start_resolution=start, **times)
    gan = replace(config.gan, fmap_base=64, fmap_max=8, latent_size=8)
    return replace(config, gan=gan, schedule=schedule, adam_eps=1e-4, **more)  # rounding is no step of Adam's then


def trainer(config: RunConfig, store: Store) -> Trainer:
    spec = ImageSpec(store.channels, store.height, store.width, len(store.classes))
    loader = Loader(store, seed=config.seed, mirror=config.mirror)
    return Trainer(config, spec, loader, device=torch.device("cpu"))


def values(some: Trainer) -> dict[str, torch.Tensor]:
    return {**some.gan.networks.state_dict(), **{f"ema.{k}": v for k, v in some.ema.network.state_dict().items()}}


@pytest.mark.parametrize("name", PROGAN)
def test_preset_trains_two_iterations(name: str, store: Store) -> None:
    some = trainer(small(name), store)
    before = {k: p.clone() for k, p in some.gan.networks.named_parameters()}
    for _ in range(2):
        some.iterate()
    assert some.images_seen == 2 * 8 * some.config.gan.n_critic
    assert some.take_statistics()["skipped_steps"] == 0
    after = dict(some.gan.networks.named_parameters())
    assert all(torch.isfinite(p).all() for p in after.values())
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert any(k.startswith("generator") for k in changed)
    assert any(k.startswith("discriminator") for k in changed)


@pytest.mark.parametrize("name", ["table1_a", "table1_b", "table1_e_star", "celebahq_1024_lsgan"])
def test_goes_on_bit_for_bit(name: str, store: Store) -> None:
    """Statistics of batch norm, the start of minibatch discrimination and the strength of noise are kept."""
    config = small(name)
    whole, first, second = (trainer(config, store) for _ in range(3))
    for _ in range(4):
        whole.iterate()
    for _ in range(2):
        first.iterate()
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        second.iterate()
    one, other = values(whole), values(second)
    assert one.keys() == other.keys()
    assert not [k for k in one if not torch.equal(one[k], other[k])]


def test_lsgans_noise_follows_the_scores_of_whole_batches(store: Store) -> None:
    """In micro-batches as in whole ones; weights to 1e-5, after steps with noise of a strength that matters."""
    config = small("celebahq_1024_lsgan")
    config = replace(config, gan=replace(config.gan, stddev_group=4))
    some = trainer(config, store), trainer(replace(config, micro_batch=4), store)
    for one in some:
        one.gan.networks["discriminator"].noise.average.fill_(1.0)  # type: ignore[union-attr]
        for _ in range(3):
            one.iterate()
    whole, parts = (values(one) for one in some)
    average, other = (float(v["discriminator.noise.average"]) for v in (whole, parts))
    assert 0.5 < average < 1
    assert average == pytest.approx(other, abs=1e-6)
    assert max(float((whole[k] - parts[k]).abs().max()) for k in whole) < 1e-5
    still = trainer(config, store)  # as noise decides what is learnt
    for _ in range(3):
        still.iterate()
    assert max(float((whole[k] - v).abs().max()) for k, v in values(still).items() if "noise" not in k) > 1e-4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("table1_a", "micro_batch 4 would split the 8 samples that share batch-norm statistics; .*--gan.bn-group 4"),
        ("table1_e_star", "micro_batch 4 is smaller than the number of samples per pass, 8"),
    ],
)
def test_batch_statistics_refuse_micro_batches(name: str, message: str, store: Store) -> None:
    with pytest.raises(ConfigError, match=message):
        trainer(small(name, micro_batch=4), store)


def test_average_of_g_has_batch_norms_statistics(store: Store) -> None:
    """Samples are made with the average's statistics, which have left their start and are no batch's."""
    some = trainer(small("table1_a"), store)
    some.iterate()
    own, average = some.gan.networks["generator"], some.ema.network
    means = [dict(network.named_buffers())["first.1.running_mean"] for network in (own, average)]
    assert (means[0] != 0).all()
    torch.testing.assert_close(means[1], means[0] * (1 - 0.999**20))
    images = some.samples(some.stage, 4)
    torch.testing.assert_close(images[:2], some.samples(some.stage, 2), rtol=0, atol=1e-4)
    assert images.abs().max() <= 1  # tanh


def test_layer_norm_does_not_hide_the_contrast_of_an_image() -> None:
    """With layer norm right behind a linear map of the image, D could not tell pale images from others."""
    torch.manual_seed(0)
    gan = PRESETS["table1_a"]().gan
    d = replace(gan, fmap_base=64, fmap_max=8).make(ImageSpec(3, 16, 16)).discriminator
    for p in d.parameters():
        p.data += 0.1 * torch.randn_like(p)
    image = torch.randn(1, 3, 16, 16)
    full, pale = d(torch.cat([image, 0.1 * image]), 2)[:, 0]
    assert abs(full - pale) > 0.01
