import pickle

import pytest

from progan.data.pixels import ImageError
from progan.errors import DataError


@pytest.mark.parametrize("kind", [DataError, ImageError])
def test_what_a_file_says_cannot_control_the_terminal(kind: type[DataError]) -> None:
    text = str(kind("a\x1b[31m\r\x00\x9b\u202e\udcff.png: broken\n  fix:   é 漢 keep\u3000this"))
    assert text == "a\\x1b[31m\\r\\x00\\x9b\\u202e\\udcff.png: broken\n  fix:   é 漢 keep\u3000this"
    text.encode()


def test_a_line_of_thousands_of_characters_keeps_its_ends() -> None:
    first, last = str(DataError("begin " + "x" * 10**6 + " end\n  fix:   this")).split("\n")
    assert first.startswith("begin xxx")
    assert first.endswith("xxx end")
    assert len(first) < 2100
    assert last == "  fix:   this"


def test_an_error_comes_back_from_a_worker_process() -> None:
    error = DataError("a\tb")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (DataError, str(error)) == (DataError, "a\\tb")
