"""Weight files of every kind, broken and hostile ones included."""

import hashlib
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from progan.errors import DataError
from progan.weights import Published, fitted, locate, read_state, weight_hash

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.tensor([1.0, -2.0])}


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(STATE["a.weight"].clone())
        self.register_buffer("small", torch.tensor([0.5, 2.0]).half())
        self.register_buffer("turned", torch.arange(6.0).view(2, 3).T)
        self.sizes = [1, 2, 3]

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + self.sizes[0]


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()
        self.layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.mkdir, (self.path,)


def test_hash_is_of_names_shapes_and_values() -> None:
    digest = hashlib.sha256(b"a.bias [2]\n" + b"\x00\x00\x80\x3f\x00\x00\x00\xc0")
    digest.update(b"a.weight [2, 3]\n" + STATE["a.weight"].numpy().tobytes())
    assert weight_hash(STATE) == digest.hexdigest()[:16]
    assert weight_hash({name: value.double() for name, value in STATE.items()}) == weight_hash(STATE)
    changed = [
        STATE | {"a.weight": STATE["a.weight"].view(3, 2)},
        STATE | {"a.bias": torch.tensor([1.0, -2.0000002])},
        {"b" + name: value for name, value in STATE.items()},
    ]
    assert len({weight_hash(state) for state in [STATE, *changed]}) == 4


@pytest.mark.parametrize("new", [True, False])
def test_reads_a_state_dict(tmp_path: Path, new: bool) -> None:
    torch.save(STATE, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    state = read_state(tmp_path / "a.pth")
    assert weight_hash(state) == weight_hash(STATE)


def test_reads_torchscript_without_running_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    module = Outer()
    torch.jit.script(module).save(str(tmp_path / "a.pt"))
    monkeypatch.delattr(torch.jit, "load")
    state = read_state(tmp_path / "a.pt")
    wanted = module.state_dict()
    assert {name for name in state if name in wanted} == set(wanted)
    for name, value in wanted.items():
        assert state[name].dtype == value.dtype
        assert torch.equal(state[name], value)


def script_with(path: Path, content: bytes) -> Path:
    """A TorchScript file whose tree of objects is ``content``."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/constants.pkl", pickle.dumps((), 2))
        archive.writestr("a/data.pkl", content)
    return path


BREAKERS: dict[str, Callable[[Path], object]] = {
    "hostile state dict": lambda path: torch.save({"a": Hostile(path.parent / "made")}, path),
    "hostile script": lambda path: script_with(path, pickle.dumps(Hostile(path.parent / "made"), 2)),
    "torch function in a script": lambda path: script_with(path, b"\x80\x02ctorch.hub\nload_state_dict_from_url\n."),
    "builtin in a script": lambda path: script_with(path, b"\x80\x02cbuiltins\neval\n."),
    "number in a script": lambda path: script_with(path, pickle.dumps(3, 2)),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"<html>404</html>" * 9),
    "list": lambda path: torch.save([torch.zeros(1)], path),
    "nested": lambda path: torch.save({"state_dict": {"a": torch.zeros(1)}}, path),
}


@pytest.mark.parametrize("breaker", BREAKERS)
def test_refuses_other_files_without_running_them(tmp_path: Path, breaker: str) -> None:
    path = tmp_path / "a.pth"
    BREAKERS[breaker](path)
    with pytest.raises(DataError, match=str(path)):
        read_state(path)
    assert not (tmp_path / "made").exists()


def test_finds_a_flipped_bit_in_torchscript(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.jit.script(Outer()).save(str(path))
    data = bytearray(path.read_bytes())
    place = data.index(STATE["a.weight"].numpy().tobytes())
    data[place + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="CRC"):
        read_state(path)


def test_refuses_a_tensor_beyond_its_storage(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.jit.script(Inner()).save(str(path))
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in parts if name.endswith("/data.pkl"))
    size = b"(K\x02K\x03t"  # the tuple (2, 3)
    assert size in parts[name]
    parts[name] = parts[name].replace(size, b"(K\x7fK\x7ft")
    with zipfile.ZipFile(path, "w") as archive:
        for part, content in parts.items():
            archive.writestr(part, content)
    with pytest.raises(DataError, match="out of bounds"):
        read_state(path)


def test_fits_only_all_tensors_of_the_right_shape() -> None:
    shapes = {"a.bias": (2,), "a.weight": (2, 3)}
    counted = STATE | {"bn.num_batches_tracked": torch.tensor(3)}
    assert list(fitted(counted, shapes, Path("x"))) == list(shapes)
    assert (
        fitted({name: value.half() for name, value in STATE.items()}, shapes, Path("x"))["a.bias"].dtype
        == torch.float32
    )
    for state, message in (
        ({"a.bias": STATE["a.bias"]}, "a.weight: missing"),
        (STATE | {"b": torch.zeros(1)}, "b: unknown"),
        (STATE | {"a.bias": torch.zeros(3)}, r"a.bias: \[3\] instead of \[2\]"),
        (STATE | {"a.bias": torch.tensor([0, torch.nan])}, "a.bias: not finite"),
    ):
        with pytest.raises(DataError, match=rf"x: .*1 tensors do not match\n.*{message}"):
            fitted(state, shapes, Path("x"))


def published(path: Path, name: str) -> Published:
    return Published(file=name, url="http://127.0.0.1:9/x", sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_locates_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "mine.pth"
    file.write_bytes(b"content")
    files = [published(file, "first.pth"), published(file, "second.pth")]
    assert locate(files, file) == (file, True)
    other = tmp_path / "other.pth"
    other.write_bytes(b"other")
    assert locate(files, other) == (other, False)
    with pytest.raises(DataError, match="no such file"):
        locate(files, tmp_path / "none.pth")
    with pytest.raises(DataError, match=r"(?s)cannot be downloaded.*cache/weights/first.pth"):
        locate(files)
    there = tmp_path / "cache" / "weights" / "second.pth"
    there.write_bytes(b"content")
    assert locate(files) == (there, True)
    there.write_bytes(b"broken")
    with pytest.raises(DataError, match="wrong SHA-256"):
        locate(files)
    with pytest.raises(DataError, match="wrong SHA-256"):
        locate(files, there)
