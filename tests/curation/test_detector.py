from importlib.util import find_spec

import numpy as np
import pytest
import torch

from progan.cli import main
from progan.curation import detector
from progan.curation.detector import FaceDetector, load_detector, suppress
from progan.errors import ConfigError, DataError


def overlap(a: np.ndarray, b: np.ndarray, of_smaller: bool) -> float:
    common = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return common / (min(areas) if of_smaller else sum(areas) - common)


@pytest.mark.parametrize("of_smaller", [False, True])
def test_suppression_equals_a_loop(of_smaller: bool) -> None:
    rng = np.random.default_rng(0)
    corner = rng.random((60, 2)) * 50
    boxes, scores = np.concatenate([corner, corner + 5 + rng.random((60, 2)) * 30], 1), rng.random(60)
    kept: list[int] = []
    for i in np.argsort(-scores):
        if all(overlap(boxes[i], boxes[j], of_smaller) <= 0.4 for j in kept):
            kept.append(int(i))
    assert suppress(torch.tensor(boxes), torch.tensor(scores), 0.4, of_smaller=of_smaller).tolist() == kept
    assert 5 < len(kept) < 55


def test_box_means_equal_numpy_and_are_grey_outside() -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 30, 3), np.uint8)
    boxes = torch.tensor([[2.0, 4, 26, 28], [-24.0, 0, 24, 48]])
    means = detector._means(detector._sums(image), boxes, 12).numpy()
    wanted = (image[4:28, 2:26].reshape(12, 2, 12, 2, 3).mean((1, 3)) - 127.5) / 128
    np.testing.assert_allclose(means[0], wanted.transpose(2, 0, 1), atol=1e-6)
    np.testing.assert_allclose(means[1, :, :, :6], 0, atol=1e-6)


def test_without_weights_it_says_what_to_type(tmp_path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    with pytest.raises(ConfigError, match="pip install --no-deps facenet-pytorch"):
        load_detector(tmp_path)
    monkeypatch.setattr(detector, "find_spec", lambda name: None)
    np.save(tmp_path / "a.npy", np.zeros((2, 64, 64, 3), np.uint8))
    assert main(["prepare", "celebahq", f"{tmp_path}/a.npy", f"{tmp_path}/store"]) == 2
    assert "--landmarks FILE" in capsys.readouterr().err


def random_states() -> dict[str, dict[str, torch.Tensor]]:
    """Weights of the right names and shapes."""
    return {name: {k: torch.zeros(shape) for k, shape in detector._shapes(name).items()} for name in detector._MAPS}


def test_weights_that_are_others_are_one_line(tmp_path) -> None:
    states = random_states()
    for name, state in states.items():
        torch.save(state, tmp_path / f"{name}.pt")
    with pytest.raises(DataError, match=r"pnet.pt: not the file of facenet-pytorch 2.6.0\n.*expected a2a71925"):
        load_detector(tmp_path)
    states["rnet"]["dense4.wait"] = states["rnet"].pop("dense4.weight")
    with pytest.raises(
        DataError, match=r"rnet.pt: .* 2 tensors do not match\n.*dense4.weight: missing; dense4.wait: un"
    ):
        FaceDetector(states)
    states = random_states()
    states["onet"]["conv4.weight"] = states["onet"]["conv4.weight"].flatten()
    with pytest.raises(DataError, match=r"onet.pt: .*\n.*conv4.weight: \[32768\] instead of \[128, 64, 2, 2\]"):
        FaceDetector(states)


def test_squares_hold_the_boxes_and_leave_small_faces_out(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = torch.tensor([[10.0, 10, 40, 70], [10, 10, 50, 30]])
    monkeypatch.setattr(FaceDetector, "faces", lambda *_, **__: (boxes, None, None))
    found = FaceDetector(random_states()).squares(np.zeros((80, 80, 3), np.uint8), 50)
    np.testing.assert_array_equal(found, [[-5, 10, 55, 70]])


@pytest.mark.skipif(find_spec("facenet_pytorch") is None, reason="needs facenet-pytorch's weights")
def test_no_face_in_noise() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    found = load_detector()
    assert isinstance(found, FaceDetector)
    assert found(noise) is None
