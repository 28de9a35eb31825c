from pathlib import Path

import pytest

from progan.errors import ConfigError
from progan.files import locked, replacing


def test_file_appears_when_it_is_complete_and_the_old_one_is_kept_on_request(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a"
    for text in (b"one", b"two"):
        with replacing(path, spare=tmp_path / "spare") as file:
            file.write(text)
    assert (path.read_bytes(), (tmp_path / "spare").read_bytes()) == (b"two", b"one")


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_error_leaves_the_old_file_and_nothing_else(error: type[BaseException], tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def fail() -> None:
        with replacing(tmp_path / "a", spare=tmp_path / "spare") as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        fail()
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"old")]


def test_two_writers_with_tokens_do_not_meet(tmp_path: Path) -> None:
    with replacing(tmp_path / "a", token="1") as one, replacing(tmp_path / "a", token="2") as two:
        one.write(b"1")
        two.write(b"2")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"1")]


def test_a_folder_is_for_one_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path / "new"), pytest.raises(ConfigError, match="new: another process works there"):  # noqa: SIM117
        with locked(tmp_path / "new"):
            raise AssertionError
    with locked(tmp_path / "new"), locked(tmp_path / "other"):
        pass
