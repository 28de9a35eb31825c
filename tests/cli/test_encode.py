"""The commands 'progan encode' and 'progan metric codes'."""

import contextlib
import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from progan.analysis.latent_plot import latent_plot, manifold, principal_plane
from progan.cli import main
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.store import Store
from progan.errors import DataError
from progan.evaluation import codes as module
from progan.evaluation.codes import Codes, encode_images, measure_codes
from progan.evaluation.sets import of_store
from progan.gans import DCGANConfig
from progan.gans.base import GANConfig, ImageSpec, Latent
from progan.snapshot import Snapshot
from progan.snapshot.registry import GANS, name_of
from small import write_images
from toys import AutoencoderConfig

SPEC = ImageSpec(3, 6, 8, classes=2)


class Sorter(nn.Module):
    """An encoder whose codes are the shares of the three colors and the brightness; features are the pixels."""

    def __init__(self, categories: int) -> None:
        super().__init__()
        self.weight, self.latent, self.categories = nn.Parameter(torch.ones(())), Latent(categories + 1), categories

    def forward(self, x: Tensor, level: int, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        return x[:, -1, None, None, None].expand(-1, 3, 6, 8)

    def encode(self, images: Tensor, level: int) -> Tensor:
        colors = (images[:, : self.categories] + 1.01).mean((2, 3))
        return torch.cat([colors / colors.sum(1, keepdim=True), images.mean((1, 2, 3))[:, None]], 1)

    def features(self, images: Tensor, level: int) -> Tensor:
        return images.flatten(1)


@dataclass(frozen=True, kw_only=True)
class SorterConfig(GANConfig):
    categories: int = 2
    supervised: bool = True

    @property
    def takes_labels(self) -> bool:
        return self.supervised

    def make_sampler(self, spec: ImageSpec) -> nn.Module:
        return Sorter(self.categories)


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path / "cache"))
    for kind in (AutoencoderConfig, SorterConfig):
        monkeypatch.setitem(GANS, kind.__name__, kind)


def snapshot(path: Path, config: GANConfig, spec: ImageSpec = SPEC) -> Snapshot:
    torch.manual_seed(0)
    network = config.make_sampler(spec).requires_grad_(False).eval()
    made = Snapshot(
        network, name_of(config), config, spec, level=spec.levels - 1, classes=("class0", "class1")[: spec.classes]
    )
    made.save(path)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("encode") / "images", count=20, size=(6, 8))


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return prepare(folder, folder.parent / "store", PrepareOptions(resolution="6x8"), workers=0)


def run(*args: object) -> int:
    device = [] if args[0] == "metric" else ["--device", "cpu"]
    return main([*map(str, args), *device])


def fails(capsys: pytest.CaptureFixture[str], message: str, *args: object) -> None:
    capsys.readouterr()
    assert run(*args) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err[:7]) == ("", 1, "error: ")
    assert message in err


def pixels(store: Store) -> Tensor:
    return torch.tensor(store.level(6)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("source", ["store", "folder"])
def test_codes_come_in_the_order_of_the_images_with_all_that_is_known(
    source: str, store: Store, folder: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 7)
    coder = snapshot(tmp_path / "g.safetensors", SorterConfig())
    place = store.path if source == "store" else folder
    assert run("encode", tmp_path / "g.safetensors", place, tmp_path / "c.npz", "--batch", 3) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'c.npz'}: codes of 3 components of 20 images of 2 classes\n"
    with np.load(tmp_path / "c.npz", allow_pickle=False) as file:
        found = dict(file)
    wanted = coder.encode(pixels(store))
    assert (found["codes"].dtype, found["codes"].shape) == (np.float32, (20, 3))
    np.testing.assert_allclose(found["codes"], wanted, atol=1e-6)
    np.testing.assert_array_equal(found["labels"], store.labels())
    np.testing.assert_array_equal(found["index"], np.arange(20))
    np.testing.assert_array_equal(found["predictions"], wanted[:, :2].argmax(1))
    np.testing.assert_array_equal(found["probabilities"], found["codes"][:, :2])
    assert found["names"].tolist() == list(store.names)
    assert found["classes"].tolist() == found["categories"].tolist() == ["class0", "class1"]
    header = json.loads(str(found["header"]))
    assert (header["kind"], header["gan"], len(header["snapshot"])) == ("codes", "SorterConfig", 64)


def test_some_images_are_drawn_by_the_seed_and_found_again(store: Store, tmp_path: Path) -> None:
    coder, drawn = snapshot(tmp_path / "g.safetensors", SorterConfig()), []
    for seed in (0, 0, 1):
        args = ("--features", "--count", 7, "--seed", seed)
        assert run("encode", tmp_path / "g.safetensors", store.path, tmp_path / "c.npz", *args) == 0
        codes = Codes.load(tmp_path / "c.npz")
        drawn.append(codes.index.tolist())
        np.testing.assert_allclose(codes.values, coder.features(pixels(store)[codes.index]), atol=1e-6)
        np.testing.assert_array_equal(codes.labels, store.labels()[codes.index])  # type: ignore[index]
        np.testing.assert_array_equal(codes.predictions, coder.encode(pixels(store)[codes.index])[:, :2].argmax(1))
        assert codes.names.tolist() == [store.names[i] for i in codes.index]  # type: ignore[union-attr]
        assert codes.kind == "features"
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 7


def test_categories_are_classes_only_of_networks_that_were_trained_with_labels(store: Store, tmp_path: Path) -> None:
    """Clusters are nobody's classes, although the data that they were found in has some."""
    file, images = tmp_path / "g.safetensors", of_store(store)
    clusters = encode_images(snapshot(file, SorterConfig(supervised=False)), images)
    assert (clusters.classes, clusters.categories) == (("class0", "class1"), ())
    assert set(measure_codes(clusters)) == {"cluster_error", "cluster_error_majority"}
    nameless = replace(snapshot(file, SorterConfig()), classes=())
    assert encode_images(nameless, images).categories == ("0", "1")


def test_a_plot_shows_the_images_by_class_and_seed(store: Store, tmp_path: Path) -> None:
    coder, file = snapshot(tmp_path / "g.safetensors", SorterConfig()), tmp_path / "g.safetensors"
    images = pixels(store)
    drawn = []
    for seed in (0, 3):
        args = (file, store.path, tmp_path / "c.npz", "--plot", tmp_path / "p.png", "--seed", seed)
        assert run("encode", *args) == 0
        wanted, _ = latent_plot(
            coder.encode(images).numpy(),
            lambda i: images[i],
            labels=store.labels(),
            classes=("class0", "class1"),
            seed=seed,
        )
        drawn.append(np.asarray(Image.open(tmp_path / "p.png")))
        np.testing.assert_array_equal(drawn[-1], np.asarray(wanted))
    assert (drawn[0] != drawn[1]).any()  # the images overlap, so that not all are shown
    header = Codes.load(tmp_path / "c.npz").header
    assert header["snapshot"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert header["images"]["hash"] == store.hash[:16]


def test_images_without_classes_and_codes_without_categories(folder: Path, tmp_path: Path, capsys) -> None:
    spec = ImageSpec(3, 6, 8)
    snapshot(tmp_path / "g.safetensors", AutoencoderConfig(), spec)
    images = folder / "class0"
    pictures = ("--plot", tmp_path / "p.png", "--manifold", tmp_path / "m.png")
    assert run("encode", tmp_path / "g.safetensors", images, tmp_path / "c.npz", *pictures) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{tmp_path / 'c.npz'}: codes of 2 components of 10 images"
    assert said[1].startswith(f"{tmp_path / 'p.png'}: codes of 2 components; ")
    with np.load(tmp_path / "c.npz", allow_pickle=False) as file:
        assert sorted(file.files) == ["codes", "header", "index", "names"]
    assert Image.open(tmp_path / "p.png").mode == "RGB"
    assert Image.open(tmp_path / "m.png").size == (20 * 8, 20 * 6)
    snapshot(tmp_path / "s.safetensors", SorterConfig())
    fails(
        capsys,
        "a manifold is drawn of codes with 2 components, but those of this SorterConfig network have 3",
        *("encode", tmp_path / "s.safetensors", images, tmp_path / "c.npz", "--manifold", tmp_path / "m.png"),
    )


def test_what_cannot_be_encoded_is_one_line(store: Store, folder: Path, tmp_path: Path, capsys) -> None:
    snapshot(tmp_path / "g.safetensors", SorterConfig())
    snapshot(tmp_path / "d.safetensors", DCGANConfig(maps=2, latent_size=4), ImageSpec(3, 16, 16))
    snapshot(tmp_path / "a.safetensors", AutoencoderConfig(), ImageSpec(1, 6, 8))
    snapshot(tmp_path / "large.safetensors", AutoencoderConfig(), ImageSpec(3, 12, 16))
    snapshot(tmp_path / "one.safetensors", SorterConfig(categories=0, supervised=False))
    out = tmp_path / "c.npz"
    (tmp_path / "d.png").mkdir()
    for message, *args in (
        ("a dcgan network has no encoder; networks with one: aae, bigan", "d.safetensors", store.path, out),
        ("no 12x16 images; found: 6x8; fix: run 'progan prepare SOURCE", "large.safetensors", store.path, out),
        ("has images of 3 channels, but the network encodes images of 1; use", "a.safetensors", store.path, out),
        ("have no features besides their codes", "large.safetensors", tmp_path / "large", out, "--features"),
        ("count must be 1 ... 20, as many as", "g.safetensors", store.path, out, "--count", 21),
        ("count must be 1 ... 20, as many as", "g.safetensors", store.path, out, "--count", 0),
        ("batch must be at least 1, got 0", "g.safetensors", store.path, out, "--batch", 0),
        ("c.npy: codes are written as .npz", "g.safetensors", store.path, tmp_path / "c.npy"),
        ("p.jpg: the picture is written as PNG", "g.safetensors", store.path, out, "--plot", "p.jpg"),
        ("generates any number of images; choose one with --count", "g.safetensors", tmp_path / "g.safetensors", out),
        ("000.png is a file and not a folder", "g.safetensors", store.path, folder / "class0/000.png/c.npz"),
        ("000.png is a file and not", "g.safetensors", store.path, out, "--plot", folder / "class0/000.png/deep/p.png"),
        ("d.png: is a folder; name a file", "g.safetensors", store.path, out, "--manifold", tmp_path / "d.png"),
        ("is both --plot and --manifold", "g.safetensors", store.path, out, "--plot", "p.png", "--manifold", "p.png"),
        (
            "a plot requires codes of at least 2 components, got 1",
            "one.safetensors",
            store.path,
            out,
            "--plot",
            "p.png",
        ),
    ):
        write_images(tmp_path / "large", count=2, size=(12, 16))
        fails(capsys, message, "encode", tmp_path / str(args[0]), *args[1:])
        assert not out.exists()
    one = (tmp_path / "one.safetensors", store.path, out, "--features", "--plot", tmp_path / "p.png")
    assert run("encode", *one) == 0  # features have many components


def codes(path: Path, values: Any, labels: Any, *, header: Any = "x", **more: Any) -> Path:
    """A file of codes; ``more`` are further arrays, or the facts on the images for the header."""
    kind = more.pop("kind", "codes")
    facts: dict[str, object] = {"values": np.array(values, np.float32), "kind": kind, "classes": ("a", "b", "c")}
    facts |= {"index": np.arange(len(values)), "labels": None if labels is None else np.array(labels)}  # type: ignore[arg-type]
    images = {"images": more.pop("images", {})}
    Codes(header={"kind": kind, "snapshot": header, **images}, **facts | more).save(path)  # type: ignore[arg-type]
    return path


SHARES = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.6, 0.4, 0.0], [0.3, 0.1, 0.6]], np.float32)


def test_values_of_several_files(tmp_path: Path, capsys) -> None:
    """By hand: one and two of four predictions are wrong; 1 and 3 of 4 neighbors are right."""
    values = [[0.0], [1.0], [2.0], [3.0]]
    named = {"probabilities": SHARES, "categories": ("b", "a", "c")}
    tests = [
        codes(tmp_path / f"{i}.npz", values, labels, **named) for i, labels in enumerate(([1, 0, 0, 2], [1, 1, 0, 2]))
    ]
    train = codes(tmp_path / "t.npz", [[2.1], [0.4], [9.0]], [0, 1, 2], **{**named, "probabilities": SHARES[:3]})
    assert run("metric", "codes", *tests, "--train", train, train, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [file["values"] for file in report["files"]] == [
        {"error": 0.25, "nn_accuracy": 0.5},
        {"error": 0.5, "nn_accuracy": 0.75},
    ]
    assert report["mean"] == {"error": 0.375, "nn_accuracy": 0.625}
    assert report["std"] == pytest.approx({"error": 0.125 * 2**0.5, "nn_accuracy": 0.125 * 2**0.5})
    assert run("metric", "codes", *tests) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{tests[0]}: codes of 1 component, 4 images of 3 classes"
    assert said[-1].split() == ["classification", "error", "37.50%", "17.68%"]


def test_clusters_are_labeled_by_training_images_if_there_are_any(tmp_path: Path, capsys) -> None:
    """By hand. The training images name the classes in another order."""
    values, known = [[0.0]] * 4, {"classes": ("c", "b", "a")}
    test = codes(tmp_path / "t.npz", values, [0, 1, 1, 2], probabilities=SHARES)  # a b b c in clusters 0 1 0 2
    train = codes(tmp_path / "r.npz", values, [2, 1, 0, 0], probabilities=SHARES, **known)  # a b c c
    # labels by the surest image: a b c and a b c; by majority: a (or b) b c and c (or a) b c
    for more, wanted in (([], [0.25, 0.25]), (["--train", train], [0.25, 0.5])):
        assert run("metric", "codes", test, *more, "--json") == 0
        mean = json.loads(capsys.readouterr().out)["mean"]
        assert [mean["cluster_error"], mean["cluster_error_majority"]] == wanted
        assert "error" not in mean
    wrong = codes(tmp_path / "w.npz", values, [0, 2, 0, 0], probabilities=SHARES, **known)  # c a c c
    assert run("metric", "codes", test, "--train", wrong) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in said[-3:]] == ["75.00%", "75.00%", "25.00%"]


def test_codes_that_cannot_be_measured_are_one_line(tmp_path: Path, capsys) -> None:
    values, more = [[0.0]] * 4, {"probabilities": SHARES, "categories": ("a", "b", "c")}
    test = codes(tmp_path / "t.npz", values, [0, 1, 2, 2], **more)
    plain = codes(tmp_path / "plain.npz", values, [0, 1, 2, 2])
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    np.savez(tmp_path / "object.npz", header=np.array({}, object))
    np.savez(tmp_path / "short.npz", **{**np.load(test), "labels": np.zeros(3, np.int64)})
    for message, *args in (
        ("pass at least one file of codes",),
        ("none.npz: cannot be read (No such file or directory)", tmp_path / "none.npz"),
        ("text.npz: is not a file of codes; expected the output of", tmp_path / "text.npz"),
        ("other.npz: is not a file of codes", tmp_path / "other.npz"),
        ("object.npz: is not a file of codes", tmp_path / "object.npz"),
        ("short.npz: is damaged: its arrays do not belong together", tmp_path / "short.npz"),
        ("its images have no labels; give each class", codes(tmp_path / "n.npz", values, None, classes=(), **more)),
        ("no categories, so only neighbors can be measured; pass --train TRAIN.npz", plain),
        ("--train requires one file for each of the 2 test files, got 1", test, test, "--train", test),
        (
            f"t.npz has codes of 1 component and 3 categories, {tmp_path / 'two.npz'} codes of 2 components and 3",
            *(test, "--train", codes(tmp_path / "two.npz", [[0.0, 1.0]] * 4, [0, 1, 2, 2], **more)),
        ),
        ("plain.npz codes of 1 component and no categories; encode both", test, "--train", plain),
        (
            "are of different snapshots; encode both",
            test,
            "--train",
            codes(tmp_path / "y.npz", values, [0] * 4, header="y", **more),
        ),
        (
            "t.npz: " + str(tmp_path / "few.npz") + " lacks its class c; found: a, b",
            *(test, "--train", codes(tmp_path / "few.npz", values, [0, 1, 1, 0], **{**more, "classes": ("a", "b")})),
        ),
        (
            "few2.npz: the network lacks its class d; found: a, b, c",
            codes(tmp_path / "few2.npz", values, [0, 1, 2, 3], **{**more, "classes": ("a", "b", "c", "d")}),
        ),
    ):
        fails(capsys, message, "metric", "codes", *args)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("codes", np.full((4, 1), np.nan, np.float32)),
        ("codes", np.zeros((4, 0), np.float32)),
        ("codes", np.zeros((4, 1))),
        ("codes", np.zeros(4, np.float32)),
        ("index", np.arange(4.0)),
        ("index", np.arange(3)),
        ("names", np.array(["a"])),
        ("labels", np.array([0, 1, 2, 3])),
        ("labels", np.array([0, 1, 2, -1])),
        ("labels", np.array([0.0, 1, 2, 2])),
        ("probabilities", np.zeros((4, 0), np.float32)),
        ("probabilities", np.full((4, 3), np.nan, np.float32)),
        ("probabilities", np.zeros((3, 3), np.float32)),
        ("probabilities", np.zeros((4, 2), np.float32)),
        ("header", np.array(json.dumps({"kind": "codes", "snapshot": 5}))),
        ("header", np.array(json.dumps({"kind": "codes", "images": []}))),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(name: str, array: np.ndarray, tmp_path: Path, capsys) -> None:
    whole = codes(tmp_path / "t.npz", [[0.0]] * 4, [0, 1, 2, 2], probabilities=SHARES, categories=("a", "b", "c"))
    assert run("metric", "codes", whole) == 0
    np.savez(tmp_path / "d.npz", **{**np.load(whole), name: array})
    fails(capsys, "d.npz: is damaged: its arrays do not belong together", "metric", "codes", tmp_path / "d.npz")


def test_damaged_files_of_codes_are_one_line(tmp_path: Path) -> None:
    """Bytes are changed at random, also in compressed files, which say so in many ways."""
    whole = codes(tmp_path / "t.npz", [[0.0]] * 4, [0, 1, 2, 2], probabilities=SHARES, categories=("a", "b", "c"))
    np.savez_compressed(tmp_path / "c.npz", **np.load(whole))
    np.savez(tmp_path / "deep.npz", **{**np.load(whole), "header": np.array("[" * 100_000)})
    rng, damaged = np.random.default_rng(0), tmp_path / "d.npz"
    for file in ("t.npz", "c.npz", "deep.npz"):
        raw = (tmp_path / file).read_bytes()
        for _ in range(150 if file != "deep.npz" else 1):
            changed = bytearray(raw)
            changed[rng.integers(len(raw))] = rng.integers(256)
            damaged.write_bytes(changed)
            with contextlib.suppress(DataError):
                Codes.load(damaged)  # any other error fails the test
    header = io.BytesIO()
    facts = {"descr": "<f4", "fortran_order": False, "shape": (10**13, 2)}
    np.lib.format.write_array_header_1_0(header, facts)
    with zipfile.ZipFile(damaged, "w") as archive:
        archive.writestr("codes.npy", header.getvalue())
    with pytest.raises(DataError, match="is not a file of codes"):
        Codes.load(damaged)


def test_images_are_not_their_own_neighbors(tmp_path: Path, capsys) -> None:
    values, store = [[0.0], [1.0], [2.0], [3.0]], {"images": {"hash": "h", "kind": "store"}}
    test = codes(tmp_path / "t.npz", values, [0, 1, 2, 2], **store)
    fails(capsys, f"4 of the 4 images of {test} are in {test} as well", "metric", "codes", test, "--train", test)
    apart = codes(tmp_path / "a.npz", values, [0, 1, 2, 2], **store, index=np.arange(4, 8))
    some = codes(tmp_path / "s.npz", values, [0, 1, 2, 2], **store, index=np.array([9, 3, 8, 1]))
    fails(capsys, f"2 of the 4 images of {test} are in {some} as well", "metric", "codes", test, "--train", some)
    other = codes(tmp_path / "o.npz", values, [0, 1, 2, 2], images={"hash": "i", "kind": "store"})
    generated = codes(tmp_path / "g.npz", values, [0, 1, 2, 2], images={"hash": "h", "kind": "snapshot"})
    for train in (apart, other, generated):
        assert run("metric", "codes", test, "--train", train) == 0


def test_a_mean_is_of_files_of_one_kind(tmp_path: Path, capsys) -> None:
    values, more = [[0.0], [1.0], [2.0], [3.0]], {"probabilities": SHARES}
    named = codes(tmp_path / "n.npz", values, [0, 1, 2, 2], categories=("a", "b", "c"), **more)
    clusters = codes(tmp_path / "k.npz", values, [0, 1, 2, 2], **more)
    fails(capsys, "k.npz codes with clustering error (label of the most", "metric", "codes", named, clusters)
    features = codes(tmp_path / "f.npz", values, [0, 1, 2, 2], categories=("a", "b", "c"), kind="features", **more)
    fails(
        capsys,
        "n.npz has codes with classification error, " + f"{features} features with classification error",
        *("metric", "codes", named, features),
    )


def test_principal_plane_is_that_of_the_covariance() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(200, 5)) @ rng.normal(size=(5, 5)) + 100
    points, shares = principal_plane(data)
    centered = data - data.mean(0)
    _, sizes, axes = np.linalg.svd(centered, full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(centered @ axes[:2].T), atol=1e-9)
    np.testing.assert_allclose(shares, sizes[:2] ** 2 / (sizes**2).sum(), rtol=1e-9)
    for turn in range(5):  # the sign of an eigenvector is arbitrary
        turned = np.roll(centered, turn, 1) * rng.choice([-1, 1], 5)
        weights, *_ = np.linalg.lstsq(turned, principal_plane(turned)[0], rcond=None)
        assert (weights.max(0) == np.abs(weights).max(0)).all()
    flipped, _ = principal_plane(-data)
    np.testing.assert_allclose(flipped, -points, atol=1e-9)  # signs of the axes, not of the data, are fixed


def test_pictures_are_at_their_codes_without_overlap() -> None:
    """Images of one color each, 4x4 and so enlarged to 40x40, in the places of their codes."""
    corners = np.array([[0.0, 0], [9, 0], [0, 9], [9, 9], [4.5, 4.5], [4.6, 4.5]], np.float32)
    shade = [40, 80, 120, 160, 200, 200]
    read = lambda i: torch.tensor([shade[i], 7, 7], dtype=torch.uint8)[:, None, None].expand(3, 4, 4)  # noqa: E731
    picture, title = latent_plot(corners, read, labels=np.arange(6) % 2, classes=("a", "b"))
    assert title == "codes of 2 components; 5 of 6 images"
    array = np.asarray(picture).astype(int)
    found = {}
    for value in set(shade):
        rows, columns = np.nonzero((array == (value, 7, 7)).all(2))
        found[value] = rows.mean(), columns.mean()
        assert len(rows) == 40 * 40
    assert found[40][0] == found[80][0] > found[200][0] > found[120][0] == found[160][0]  # y is up
    assert found[40][1] == found[120][1] < found[200][1] < found[80][1] == found[160][1]
    row, column = (round(place) for place in found[80])
    assert tuple(array[row, column - 22]) == (255, 127, 14)  # the border of class b
    assert latent_plot(np.eye(4, dtype=np.float32), read)[1].startswith(
        "codes of 4 components: PCA, 66.7% of the variance"
    )


def test_as_many_images_are_drawn_as_fit_and_each_is_whole() -> None:
    """Any image that is not drawn would overlap one that is, or leave the frame."""
    codes = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    shade = lambda i: (i % 250, 3 + i // 250, 7)  # noqa: E731
    read = lambda i: torch.tensor(shade(i), dtype=torch.uint8)[:, None, None].expand(3, 4, 4)  # noqa: E731
    picture, title = latent_plot(codes, read)
    array, centers = np.asarray(picture), {}
    for i in range(len(codes)):
        rows, columns = np.nonzero((array == shade(i)).all(2))
        if len(rows):
            assert len(rows) == 40 * 40
            centers[i] = columns.mean(), rows.mean()
    assert title.endswith(f"; {len(centers)} of 300 images")
    known = np.array([[*codes[i], 1] for i in centers])
    to_pixels, *_ = np.linalg.lstsq(known, np.array(list(centers.values())), rcond=None)
    np.testing.assert_allclose(known @ to_pixels, list(centers.values()), atol=1)
    for i in set(range(300)) - set(centers):
        x, y = np.array([*codes[i], 1]) @ to_pixels
        overlaps = any(abs(x - a) < 48 and abs(y - b) < 48 for a, b in centers.values())
        assert overlaps or not (60 + 22 < x < picture.width - 10 - 22 and 40 + 22 < y < picture.height - 30 - 22)


class Plane(nn.Module):
    """Red is the first component of a latent, and green the second one."""

    latent = Latent(2)

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, level: int, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        return torch.cat([x / 4, torch.zeros_like(x[:, :1])], 1)[:, :, None, None].expand(-1, 3, 6, 8)


def test_a_manifold_has_the_quantiles_of_the_prior_along_each_axis() -> None:
    """Of N(0, 1), to 0.1 because they are those of 4,096 samples: a unit is 31.9 levels of a color."""
    network = Snapshot(Plane().requires_grad_(False), "plane", SorterConfig(supervised=False), ImageSpec(3, 6, 8), 0)
    array = np.asarray(manifold(network, side=5)).astype(float)
    assert array.shape == (5 * 6, 5 * 8, 3)
    wanted = 127.5 * (1 + np.array([-1.2816, -0.5244, 0, 0.5244, 1.2816]) / 4)
    np.testing.assert_allclose(array[::6, ::8, 0], np.tile(wanted, (5, 1)), atol=3.2)  # to the right
    np.testing.assert_allclose(array[::6, ::8, 1], np.tile(wanted[::-1, None], (1, 5)), atol=3.2)  # up


def test_what_is_hard_to_draw() -> None:
    """Equal codes far from the origin; a legend that is longer than the plot; images that are longer than it."""
    read = lambda i: torch.full((1, 10, 1000), 7, dtype=torch.uint8)  # noqa: E731
    _, title = latent_plot(np.full((3, 2), 1e8, np.float32), read)
    assert title == "codes of 2 components; 1 of 3 images"
    _, title = latent_plot(np.ones((3, 4), np.float32), read)
    assert title.startswith("codes of 4 components: PCA, 0.0% of the variance (0.0% + 0.0%)")
    flat = np.stack([np.linspace(0, 9, 48), np.zeros(48)], 1).astype(np.float32)
    picture, title = latent_plot(flat, read, labels=np.arange(48) % 24, classes=[f"class {i}" for i in range(24)])
    assert title.endswith("; 4 of 48 images")  # 200 pixels long each, in a plot of 1200
    color = np.asarray(picture)[40 + 24 * 23 + 10, -110]
    many, _ = latent_plot(flat, read, labels=np.arange(48) % 25, classes=[f"class {i}" for i in range(25)])
    assert picture.width - many.width == 120  # too many classes for a legend
    assert tuple(color) == (23, 190, 207)  # of class 23, as of 9
