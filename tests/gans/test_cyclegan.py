"""CycleGAN against the authors' numbers, and its options, pools and runs against their meaning."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import children
from golden_family import Fixed, fill, golden, gradient_norms, images, weights
from progan.errors import ConfigError
from progan.gans.base import Batch, ImageSpec
from progan.gans.cyclegan import LOSSES, CycleGAN, CycleGANConfig
from progan.presets import PRESETS
from progan.presets.family import constant
from progan.schedule import stage_at
from progan.snapshot import Snapshot
from progan.training import checkpoint
from progan.training.loop import Trainer
from restoring import flat
from translation import COLOR, COLOR_16, MIXED, OPTIONS, SHARED, TINY, data, option, trained, two_ranks

GOLDEN = golden("cyclegan")
SIZE = GOLDEN["config"]
BLOCKS = {"resnet_6blocks": 6, "resnet_9blocks": 9}
LETTERS = {"generator_ab": "GA", "generator_ba": "GB", "discriminator_b": "DA", "discriminator_a": "DB"}
"""Seeds of the golden weights by network; the authors' D_A judges domain B."""
NAMES = {"G_A": "fool_b", "G_B": "fool_a", "cycle_A": "cycle_a", "cycle_B": "cycle_b"} | {
    **{"idt_A": "identity_b", "idt_B": "identity_a", "D_A": "b", "D_B": "a"}
}
"""Terms here by the authors' names."""


def golden_config(**settings: Any) -> CycleGANConfig:
    return CycleGANConfig(
        **{"blocks": BLOCKS[SIZE["netG"]], "ngf": SIZE["ngf"], "ndf": SIZE["ndf"], "n_layers": SIZE["n_layers_D"]},
        **{"lambda_a": SIZE["lA"], "lambda_b": SIZE["lB"], "identity": SIZE["lI"]},
        **settings,
    )


def golden_trainer() -> Trainer:
    """A trainer in float64 on the golden images with the golden weights."""
    one = ImageSpec(3, SIZE["H"], SIZE["W"])
    run = constant(
        golden_config(), one.shorter, batch=SIZE["N"], lr=2e-4, total_kimg=1, beta1=0.5, beta2=0.999, adam_eps=1e-8
    )
    data = [Fixed(images(SIZE[seed], SIZE["N"], 3, SIZE["H"], SIZE["W"])) for seed in ("sA", "sB")]
    trainer = Trainer(run, replace(one, others=(one,)), *data, device=torch.device("cpu"))
    trainer.ema.network.double()
    for name, network in trainer.gan.networks.items():
        kind = "generator" if "generator" in name else "discriminator"
        fill(network, weights(GOLDEN[f"{kind}_parameters"], SIZE[f"s{LETTERS[name]}"]))
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as in a run
    return trainer


def watched(gan: CycleGAN, after: Callable[[dict[str, float]], None]) -> None:
    """Report the mean of each term of the losses whenever one is computed."""

    def watch(loss: Callable) -> Callable:
        def watching(batch: Batch) -> dict[str, Tensor]:
            terms = loss(batch)
            after({name: float(term.detach().mean()) for name, term in terms.items()})
            return terms

        return watching

    gan.generators_loss, gan.discriminators_loss = watch(gan.generators_loss), watch(gan.discriminators_loss)  # type: ignore[method-assign]


def as_the_authors(terms: dict[str, float]) -> dict[str, float]:
    """The losses of an update by the authors' names."""
    sums = {name: terms[f"real_{name}"] + terms[f"fake_{name}"] for name in "ab"}
    found = {theirs: (terms | sums)[ours] for theirs, ours in NAMES.items()}
    return found | {"G_total": sum(v for k, v in found.items() if not k.startswith("D_"))}


def test_maps_are_those_of_the_authors_code() -> None:
    """To 1e-7, because they are stored as float32."""
    gan: Any = golden_trainer().gan
    a, b = (images(SIZE[seed], SIZE["N"], 3, SIZE["H"], SIZE["W"]) for seed in ("sA", "sB"))
    ab, ba, judges = gan.translator.ab, gan.translator.ba, gan.discriminators
    with torch.no_grad():
        fake_b, fake_a = gan.translator(a, 0, direction="ab"), gan.translator(b, 0, direction="ba")
        made = {"fake_B": fake_b, "fake_A": fake_a, "rec_A": ba(fake_b), "rec_B": ab(fake_a), "idt_A": ab(b)}
        made |= {"idt_B": ba(a)}
        scores = {"D_A_real_B": judges["b"](b), "D_A_fake_B": judges["b"](fake_b)}
        scores |= {"D_B_real_A": judges["a"](a), "D_B_fake_A": judges["a"](fake_a)}
    for name, images_ in made.items():
        wanted = GOLDEN["maps_every_8th_row_and_column"][name]
        np.testing.assert_allclose(images_[..., ::8, ::8].flatten(), wanted, atol=1e-7, err_msg=name)
    for name, score in scores.items():
        np.testing.assert_allclose(score.flatten(), GOLDEN["scores"][name], atol=1e-7, err_msg=name)


def test_losses_and_gradients_are_those_of_the_authors_code() -> None:
    """Losses to 1e-12, norms of gradients to 1e-9; biases before an instance norm have a true gradient of 0."""
    trainer, found = golden_trainer(), {}
    gan: Any = trainer.gan
    watched(gan, found.update)
    norms: dict[str, list[float]] = {}
    step = trainer._step

    def noting(phase: Any, stage: Any) -> Any:
        norms.update({name: gradient_norms(gan.networks[name]) for name in phase.trains})
        return step(phase, stage)

    trainer._step = noting  # type: ignore[method-assign]
    trainer.iterate()
    assert as_the_authors(found) == pytest.approx(GOLDEN["losses"], rel=1e-12)
    theirs = {"generator_ab": "G_A", "generator_ba": "G_B", "discriminator_b": "D_A", "discriminator_a": "D_B"}
    compared = 0
    for name, key in theirs.items():
        pairs = [pair for pair in zip(norms[name], GOLDEN["grad_norms"][key], strict=True) if pair[1] > 1e-8]
        np.testing.assert_allclose(*zip(*pairs, strict=True), rtol=1e-9, err_msg=name)
        compared += len(pairs)
    assert compared == 2 * (24 + 1) + 2 * (5 + 2)


def test_four_updates_are_those_of_the_authors_code() -> None:
    """To 1e-9 in float64: the order of the steps, Adam, and fakes of before the step of G."""
    trainer, found = golden_trainer(), {}
    watched(trainer.gan, found.update)  # type: ignore[arg-type]
    for wanted in GOLDEN["trajectory"]:
        trainer.iterate()
        got = as_the_authors(found)
        assert {name: got[name] for name in wanted} == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(
    ("loss", "theirs"), [("least_squares", "lsgan"), ("vanilla", "vanilla"), ("wgan_gp", "wgangp")]
)
def test_losses_of_scores_are_those_of_the_authors_code(loss: str, theirs: str) -> None:
    """To 1e-12; the discriminators' count one half, the generators' are those of real images."""
    scores = torch.from_numpy(np.random.RandomState(SIZE["seedS"]).randn(2, 1, 3, 4))
    wanted = GOLDEN["ganloss_scores"]["values"][theirs]
    found = {name: 2 * float(term.mean()) for name, term in LOSSES[loss].critic(scores, scores).items()}
    assert found == pytest.approx({name: wanted[name] for name in found}, rel=1e-12)
    assert float(LOSSES[loss].generator(scores)["fake"].mean()) == pytest.approx(wanted["real"], rel=1e-12)


def first_terms(config: CycleGANConfig, spec: ImageSpec = COLOR, **settings: Any) -> dict[str, float]:
    """The terms of the first iteration."""
    found: dict[str, float] = {}
    trainer = trained(config, 0, spec=spec, **settings)
    watched(trainer.gan, found.update)  # type: ignore[arg-type]
    trainer.iterate()
    return found


def test_each_weight_belongs_to_its_own_terms() -> None:
    """Against the plain formula on the same networks, to 1e-5: float32."""
    config = replace(TINY, lambda_a=3, lambda_b=5, identity=0.25)
    found, gan = first_terms(config), trained(config, 0).gan
    ab, ba = gan.networks["generator_ab"], gan.networks["generator_ba"]
    judge_a = gan.networks["discriminator_a"]
    a, b = (some.images(0, 2, 16).float() / 127.5 - 1 for some in data(COLOR))
    with torch.no_grad():
        wanted = {
            "fool_a": F.mse_loss(judge_a(ba(b)), torch.ones(2, 1, 6, 10)),
            "cycle_a": 3 * F.l1_loss(ba(ab(a)), a),
            "cycle_b": 5 * F.l1_loss(ab(ba(b)), b),
            "identity_a": 3 * 0.25 * F.l1_loss(ba(a), a),
            "identity_b": 5 * 0.25 * F.l1_loss(ab(b), b),
            "real_a": F.mse_loss(judge_a(a), torch.ones(2, 1, 6, 10)) / 2,
            "fake_a": F.mse_loss(judge_a(ba(b)), torch.zeros(2, 1, 6, 10)) / 2,
        }
    assert {k: found[k] for k in wanted} == pytest.approx({k: float(v) for k, v in wanted.items()}, rel=1e-5)


def test_terms_of_weight_zero_are_not_computed() -> None:
    kinds = {"fool_a", "fool_b", "real_a", "real_b", "fake_a", "fake_b"}
    assert set(first_terms(replace(TINY, identity=0))) == {*kinds, "cycle_a", "cycle_b"}
    assert set(first_terms(replace(TINY, lambda_a=0))) == {*kinds, "cycle_b", "identity_b"}


def test_wgan_gp_penalizes_gradients_on_lines_between_real_and_fake() -> None:
    """Against autograd on the mean score of each image, to 1e-5; the penalty counts one half, as the scores."""
    config = replace(TINY, loss="wgan_gp", penalty_weight=4)
    found, trainer = first_terms(config), trained(config, 0)
    gan, batch = trainer.gan, trainer._batch("discriminators", trainer.stage, 0, 2, 0, 1)
    judge, b = gan.networks["discriminator_b"], batch.real(1)
    with torch.no_grad():
        fake = gan.networks["generator_ab"](batch.real(0))
    mix = batch.uniform("penalty_mix_b", 1).view(-1, 1, 1, 1)
    between = ((1 - mix) * b + mix * fake).requires_grad_()
    (slope,) = torch.autograd.grad(judge(between).mean((1, 2, 3)).sum(), between)
    norms = slope.flatten(1).norm(dim=1)
    assert found["penalty_b"] == pytest.approx(float(4 * (norms.detach() - 1).square().mean() / 2), rel=1e-5)
    assert found["real_b"] == pytest.approx(float(-judge(b).detach().mean() / 2), rel=1e-5)
    assert found["fake_b"] == pytest.approx(float(judge(fake).detach().mean() / 2), rel=1e-5)


@pytest.mark.parametrize("name", OPTIONS)
def test_resumed_run_equals_uninterrupted_run_with_a_half_full_pool(name: str, tmp_path: Path) -> None:
    """Bit for bit."""
    config, spec = option(name)
    whole, first = trained(config, 5, spec=spec), trained(config, 1, spec=spec)
    assert [int(pool.filled) for pool in first.gan.memory.values()] == [min(2, config.pool_size)] * 2  # type: ignore[operator, union-attr]
    checkpoint.save(tmp_path, first.state_dict())
    second = trained(config, 4, spec=spec, state=checkpoint.load(tmp_path)[0])
    a, b = flat(whole.state_dict()), flat(second.state_dict())
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(torch.as_tensor(a[key]), torch.as_tensor(b[key]))] == []
    begun = trained(config, 0, spec=spec).gan.networks.state_dict()
    moved = {k.split(".")[0] for k, v in whole.gan.networks.state_dict().items() if not torch.equal(v, begun[k])}
    assert moved == set(whole.gan.networks)
    assert whole.all_finite()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights and pools of some options on each of two ranks."""
    folder = tmp_path_factory.mktemp("two")
    children.run_ranks(2, two_ranks, folder, folder=folder)
    return folder


def difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The largest difference of a number."""
    return max([float((a[k].double() - b[k].double()).abs().max()) for k in a if a[k].numel()], default=0.0)


@pytest.mark.parametrize("name", SHARED)
def test_two_ranks_give_the_weights_and_the_pools_of_one(name: str, two: Path) -> None:
    """To 1e-5, because sums have another order; the same on both ranks bit for bit."""
    config, spec = option(name)
    one = trained(config, 3, spec=spec, batch=4).gan
    ranks = [torch.load(two / f"{name}{rank}.pt", weights_only=True) for rank in range(2)]
    for kind, state in enumerate((one.networks.state_dict(), one.memory.state_dict())):
        assert difference(state, ranks[0][kind]) < 1e-5
        assert all(torch.equal(ranks[0][kind][key], ranks[1][kind][key]) for key in state)


def test_micro_batches_give_the_weights_and_the_pools_of_whole_batches() -> None:
    """Weights to 1e-5, stored images to 1e-4, although the pools treat these one after the other."""
    whole, parts = (trained(TINY, 4, batch=4, micro_batch=size).gan for size in (None, 2))
    assert difference(whole.networks.state_dict(), parts.networks.state_dict()) < 1e-5
    assert difference(dict(whole.memory.state_dict()), dict(parts.memory.state_dict())) < 1e-4


def test_an_iteration_that_was_cut_off_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a run goes on from its last checkpoint after it has blown up."""
    whole, second = trained(TINY, 3), trained(TINY, 1)
    state = copy.deepcopy(second.state_dict())
    with monkeypatch.context() as patch:
        patch.setattr(second.gan, "_exchange", pytest.fail)
        with pytest.raises((TypeError, pytest.fail.Exception)):
            second.iterate()
    second.load_state_dict(state)
    for _ in range(2):
        second.iterate()
    assert difference(whole.gan.networks.state_dict(), second.gan.networks.state_dict()) == 0
    assert difference(dict(whole.gan.memory.state_dict()), dict(second.gan.memory.state_dict())) == 0


def test_discriminators_see_what_the_pools_return() -> None:
    """Fakes of before the step of G, one of each domain, exchanged by numbers of each image's position."""
    config = replace(TINY, pool_size=2)
    trainer = trained(config, 0)
    gan: Any = trainer.gan
    stored: dict[str, list[Tensor]] = {"a": [], "b": []}
    exchanged = 0
    for _ in range(4):
        batch = trainer._batch("generators", trainer.stage, trainer.images_seen, 2, 0, 1)
        with torch.no_grad():
            fakes = {"a": gan.translator.ba(batch.real(1)), "b": gan.translator.ab(batch.real(0))}
        trainer.iterate()
        for name, images_ in fakes.items():
            for image, (swap, place), shown in zip(
                images_, batch.uniform(f"pool_{name}", 2).tolist(), gan._shown[name], strict=True
            ):
                wanted = image
                if len(stored[name]) < 2:
                    stored[name].append(image)
                elif swap > 0.5:
                    wanted, stored[name][int(2 * place)] = stored[name][int(2 * place)], image
                    exchanged += 1
                torch.testing.assert_close(shown, wanted, rtol=0, atol=1e-6)
            torch.testing.assert_close(gan.memory[name].images, torch.stack(stored[name]), rtol=0, atol=1e-6)
    assert exchanged > 2


def test_translations_of_any_size_are_as_if_padded_by_the_last_pixels() -> None:
    translator = TINY.make_sampler(COLOR).eval()
    x = torch.rand(1, 3, 19, 30) * 2 - 1
    padded = torch.cat([x, x[:, :, -1:]], 2)
    padded = torch.cat([padded, padded[..., -1:], padded[..., -1:]], 3)
    with torch.no_grad():
        for direction in translator.directions:
            whole = getattr(translator, direction)(padded)
            assert torch.equal(translator(x, 0, direction=direction), whole[:, :, :19, :30])
            assert torch.equal(translator(padded, direction=direction), whole)
            assert translator(x[:, :, :1, :5], direction=direction).shape == (1, 3, 1, 5)
        assert torch.equal(translator(x), translator(x, direction="ab"))
    deep = replace(TINY, generator="unet", downs=4).make_sampler(
        replace(COLOR, height=32, width=16, others=(COLOR_16,))
    )
    assert deep(torch.zeros(1, 3, 16, 32), direction="ba").shape == (1, 3, 16, 32)
    assert deep(torch.zeros(1, 3, 3, 17), direction="ba").shape == (1, 3, 3, 17)


def test_snapshots_translate_both_ways(tmp_path: Path) -> None:
    """As the averaged generators do, within half a level of 8 bits, and images of any size."""
    config, spec = option("unet")
    trainer = trained(config, 1, spec=spec)
    file = tmp_path / "one.safetensors"
    Snapshot(trainer.ema.network, "cyclegan", config, spec, trainer.stage.level).save(file)
    snapshot, averaged = Snapshot.load(file), trainer.ema.network.eval()
    assert snapshot.directions == ("ab", "ba")
    for direction, pixels in zip(snapshot.directions, (some.images(0, 3, 16) for some in data(spec)), strict=True):
        with torch.no_grad():
            wanted = averaged(pixels / 127.5 - 1, 0, direction=direction)
        made = snapshot.translate(pixels, direction=direction)
        torch.testing.assert_close(made / 127.5 - 1, wanted, rtol=0, atol=0.501 / 127.5)
    assert snapshot.translate(torch.zeros(2, 1, 7, 9, dtype=torch.uint8)).shape == (2, 3, 7, 9)
    with pytest.raises(ConfigError, match="direction 'a' is not supported by this network; choose from ab, ba"):
        snapshot.translate(torch.zeros(1, 1, 16, 16, dtype=torch.uint8), direction="a")


def test_sheets_show_both_ways_and_back() -> None:
    trainer = trained(TINY, 1)
    a, b = (some.images(0, 3, 16).float() / 127.5 - 1 for some in data(COLOR))
    averaged: Any = trainer.ema.network
    ab, ba = averaged.ab, averaged.ba
    with torch.no_grad():
        above = torch.cat([a, ab(a), ba(ab(a)), ba(a)], 3)
        below = torch.cat([b, ba(b), ab(ba(b)), ab(b)], 3)
    torch.testing.assert_close(trainer.samples(trainer.stage, 3), torch.cat([above, below], 2), rtol=0, atol=1e-5)


def test_sheets_of_gray_and_color_images_of_two_sizes_fit_together() -> None:
    config, spec = option("unet")
    sheet = trained(config, 1, spec=spec).samples(trained(config, 0, spec=spec).stage, 2)
    assert sheet.shape == (2, 3, 16 + 20, 3 * 24)
    assert torch.equal(sheet[:, 0, :16, :24], sheet[:, 2, :16, :24])  # gray
    assert bool((sheet[:, :, 16:, 3 * 16 :] == 1).all())  # the narrower row ends in white
    alpha = replace(TINY, identity=0)
    four = ImageSpec(4, 16, 16, others=(ImageSpec(1, 16, 16),))
    assert trained(alpha, 1, spec=four).samples(trained(alpha, 0, spec=four).stage, 1).shape == (1, 4, 32, 48)


@pytest.mark.parametrize(
    ("settings", "spec", "message"),
    [
        ({}, ImageSpec(3, 16, 24), "CycleGAN requires 2 data sets, A and B, got 1"),
        (
            {},
            replace(MIXED, height=20),
            "gan.identity 0.5 requires domains of the same number of channels, but A has 1 and B has 3; use "
            "--gan.identity 0",
        ),
        (
            {"loss": "wgan_gp", "identity": 0},
            MIXED,
            "gan.loss wgan_gp requires domains of the same size, but A has 16x24 and B has 20x16; use --gan.loss "
            "least_squares",
        ),
        (
            {},
            ImageSpec(3, 16, 24, others=(ImageSpec(3, 16, 23),)),
            "the resnet generators require sides that are multiples of 4, but the images of domain B have 16x23; use "
            "'progan prepare SOURCE STORE --resolution 16x20'",
        ),
    ],
)
def test_data_that_does_not_fit_is_one_line_with_what_to_type(settings: dict, spec: ImageSpec, message: str) -> None:
    for make in (replace(TINY, **settings).make, replace(TINY, **settings).make_sampler):
        with pytest.raises(ConfigError) as error:
            make(spec)
        assert str(error.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pool_size": -1}, "gan.pool_size must be at least 0, got -1"),
        ({"lambda_a": -1.0}, "gan.lambda_a must be a number of at least 0, got -1.0"),
        ({"identity": float("inf")}, "gan.identity must be a number of at least 0, got inf"),
        (
            {"loss": "wgan_gp", "norm": "batch"},
            "gan.loss wgan_gp penalizes the gradients of single images, which batch norm mixes; use --gan.norm "
            "instance",
        ),
    ],
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        CycleGANConfig(**settings)
    assert str(error.value) == message


def test_defaults_are_those_of_the_authors_code() -> None:
    config = CycleGANConfig()
    assert (config.generator, config.blocks, config.ngf, config.ndf, config.n_layers) == ("resnet", 9, 64, 64, 3)
    assert (config.lambda_a, config.lambda_b, config.identity, config.pool_size) == (10, 10, 0.5, 50)
    assert (config.norm, config.loss, config.upsampling) == ("instance", "least_squares", "transposed")
    assert not any(isinstance(m, nn.BatchNorm2d) for m in TINY.make(COLOR).networks.modules())


def test_presets_are_the_published_runs() -> None:
    """200 epochs of 1,334 images; the learning rate falls from the 100th on, image by image."""
    wanted = {"cyclegan_256": (9, 64, 256, 286, 266.8), "cyclegan_128": (6, 64, 128, 143, 266.8)}
    wanted["cyclegan_64_small"] = (6, 32, 64, 72, 10)
    for name, (blocks, maps, side, load, kimg) in wanted.items():
        run = PRESETS[name]()
        gan: Any = run.gan
        assert (gan.blocks, gan.ngf, gan.ndf, run.schedule.resolution, run.load_size) == (
            blocks,
            maps,
            maps,
            side,
            load,
        )
        assert (run.schedule.batch, run.beta1, run.beta2, run.ema_decay, run.mirror) == (1, 0.5, 0.999, 0, True)
        assert run.schedule.total_kimg == pytest.approx(kimg)
        one = ImageSpec(3, side, side)
        assert gan.domains(replace(one, others=(one,))) == (replace(one, others=(one,)), one)
        total = round(1000 * kimg)
        rates = [stage_at(run.schedule, total * share // 400).lr for share in (0, 200, 201, 300, 399, 400)]
        assert rates == pytest.approx([2e-4, 2e-4, 2e-4 * 0.995, 1e-4, 1e-6, 0], abs=1e-8)
