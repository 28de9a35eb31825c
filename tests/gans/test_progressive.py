"""The networks against outputs of the authors' program, and the losses against plain formulas."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from progan.errors import ConfigError
from progan.gans import ProGANConfig
from progan.gans.base import ImageSpec
from progan.gans.progressive import ProGAN

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/networks_32.json").read_text())
CONFIG = ProGANConfig(fmap_base=128, fmap_max=16, latent_size=16, stddev_group=4)
SPEC = ImageSpec(3, 32, 32)


def golden_weights() -> dict[str, Tensor]:
    """The weights by the golden file's rule, still in the authors' layout and names."""
    r = np.random.RandomState(0)
    weights = {}
    for name, shape in sorted(GOLDEN["weights"]["shapes"].items()):
        values = r.randn(*shape) * (1.0 if name.endswith("weight") else 0.1)
        weights[name] = torch.from_numpy(values.astype(np.float32))
    return weights


def authors_name(own: str, levels: int = 4) -> str:
    """Their name of one of our parameters, such as generator.blocks.1.0.bias -> G/16x16/Conv0/bias."""
    net, *parts, kind = own.split(".")
    net = net[0].upper()
    if parts and parts[0] in ("to_rgb", "from_rgb"):
        head = "ToRGB" if net == "G" else "FromRGB"
        return f"{net}/{head}_lod{levels - 1 - int(parts[1])}/{kind}"
    if parts and parts[0] == "blocks":
        side = 8 << int(parts[1])
        return f"{net}/{side}x{side}/Conv{parts[2]}/{kind}"
    names = {"first": "Conv", "last": "Conv", "dense": "Dense" if net == "G" else "Dense0", "score": "Dense1"}
    return f"{net}/4x4/Dense/bias" if kind == "dense_bias" else f"{net}/4x4/{names[parts[0]]}/{kind}"


def golden_gan(*, fused: bool) -> ProGAN:
    gan = ProGANConfig(**{**vars(CONFIG), "fused_downscale": fused}).make(SPEC)
    weights = golden_weights()
    for own, parameter in gan.networks.named_parameters():
        value = weights.pop(authors_name(own))
        order = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[value.ndim]
        parameter.data = value.permute(order).contiguous()
    assert not weights
    return gan


@pytest.mark.parametrize("case", GOLDEN["outputs"])
def test_networks_give_the_authors_outputs(case: str) -> None:
    """To 2e-5, which is the rounding of their float32 program."""
    want = GOLDEN["outputs"][case]
    gan = golden_gan(fused=case.startswith("fused"))
    alpha = torch.tensor(0.5) if "halfway" in case else None
    z = torch.from_numpy(np.random.RandomState(1).randn(8, 16).astype(np.float32))
    x = torch.from_numpy(np.random.RandomState(2).uniform(-1, 1, [8, 3, 32, 32]).astype(np.float32))
    with torch.no_grad():
        image = gan.generator(z, 3, alpha)
    x.requires_grad_(True)
    score = gan.discriminator(x, 3, alpha)[:, 0]
    (slope,) = torch.autograd.grad(score.sum(), x)
    ours = {
        "G_mean": image.mean(),
        "G_std": image.std(correction=0),
        "G[0,:,0,0]": image[0, :, 0, 0],
        "G[-1,:,-1,-1]": image[-1, :, -1, -1],
        "D(x)": score,
        "norm of dD/dx per sample": slope.flatten(1).norm(dim=1),
    }
    for name, value in want.items():
        np.testing.assert_allclose(ours[name].detach().numpy(), value, rtol=0, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(
    ("config", "spec", "totals"),
    [
        (ProGANConfig(), ImageSpec(3, 1024, 1024), (23_079_115, 23_087_249)),
        (ProGANConfig(), ImageSpec(3, 256, 256), (23_044_309, 23_052_353)),
        (ProGANConfig(fmap_base=2048), ImageSpec(3, 128, 128), (13_629_810, 13_636_897)),
        (ProGANConfig(fmap_base=4096, fmap_max=128), ImageSpec(3, 32, 32), (1_296_908, 1_298_689)),
    ],
)
def test_parameter_totals_of_the_papers_networks(
    config: ProGANConfig, spec: ImageSpec, totals: tuple[int, int]
) -> None:
    with torch.device("meta"):
        gan = config.make(spec)
    assert tuple(sum(p.numel() for p in net.parameters()) for net in gan.networks.values()) == totals


@pytest.mark.parametrize("setting", [{"latent_size": 0}, {"latent_size": -5}, {"stddev_group": -4}])
def test_settings_that_make_no_sense_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"gan.{next(iter(setting))} must be at least"):
        ProGANConfig(**setting)
