"""Texts, JSON and names that hypothesis draws; the same block of a kind always has the same ones."""

import functools
import json
from random import Random

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from fuzz import seeds
from fuzz.cases import Case
from fuzz.hostile import dot

BLOCK, BLOCKS = 10, 400
_TEXT = st.text(max_size=12)
_NAME = st.one_of(
    st.sampled_from(["0.png", "1.png", "a/0.png", "./0.png", "A/1.PNG", "x.png"]),
    st.text(max_size=9).map("{}.png".format),
)
_CELL = st.one_of(
    st.integers(),
    st.integers(-2, 3),
    st.floats(),
    st.booleans(),
    st.none(),
    _TEXT,
    st.lists(st.integers(0, 9), max_size=3),
)
_JSON = st.recursive(
    _CELL, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4), max_leaves=12
)
_PAIRS = st.lists(st.tuples(_NAME, _CELL) | _JSON, max_size=4)
_KEY = st.sampled_from(["labels", "label", "cls", "age", "file_name", "image", "text"]) | _TEXT
_ROW = st.lists(_CELL.map(str) | _NAME, max_size=5)

STRATEGIES: dict[str, st.SearchStrategy] = {
    "dataset": st.dictionaries(_KEY, _PAIRS | _JSON, max_size=4).map(lambda value: {"labels": [["0.png", 1]], **value}),
    "lines": st.lists(st.dictionaries(_KEY, _CELL | _NAME, max_size=5), max_size=4),
    "table": st.tuples(st.sampled_from(",\t;|  "), st.lists(_ROW, max_size=6)),
    "beside": st.dictionaries(_KEY, _JSON, max_size=4) | _JSON,
    "names": st.lists(
        st.text(min_size=1, max_size=20).map(lambda name: name.replace("..", ".").lstrip("/") or "a"),
        min_size=1,
        max_size=5,
    ),
}


@functools.lru_cache(maxsize=BLOCKS)
def block(kind: str, number: int) -> list:
    """Return the examples of one block of a strategy."""
    found: list = []

    @seed(f"{kind}:{number}")
    @settings(
        max_examples=BLOCK,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(STRATEGIES[kind])
    def draw(value: object) -> None:
        found.append(value)

    draw()
    return found


def drawn(rng: Random, kind: str) -> object:
    """Return one example."""
    examples = block(kind, rng.randrange(BLOCKS))
    return examples[rng.randrange(len(examples))]


def drawn_case(rng: Random, kind: str) -> Case:
    """Return a case with drawn text: 'csv', 'dataset', 'metadata', 'webdataset' or 'names'."""
    files: dict = {f"{i}.png": dot(Random(i)) for i in range(2)}
    facts: dict = {"sound": False, "note": f"drawn {kind}"}
    if kind == "csv":
        mark, rows = drawn(rng, "table")  # pyright: ignore[reportGeneralTypeIssues]
        text = "\n".join(mark.join(row) for row in rows)
        return Case(
            files=files | {"l.csv": text.encode("utf-8", "surrogatepass")},
            labels=rng.choice(("@l.csv", "@l.csv:label")),
            **facts,
        )
    if kind == "dataset":
        return Case(files=files | {"dataset.json": json.dumps(drawn(rng, "dataset")).encode()}, **facts)
    if kind == "metadata":
        lines = "\n".join(map(json.dumps, drawn(rng, "lines")))  # pyright: ignore[reportArgumentType]
        return Case(files=files | {"metadata.jsonl": lines.encode()}, **facts)
    if kind == "webdataset":
        files |= {f"{i}.json": json.dumps(drawn(rng, "beside")).encode() for i in range(2)}
        return Case(files={"a.tar": seeds.tarred(rng, files)}, open="a.tar", **facts)
    names = {f"{name}.png": dot(rng) for name in drawn(rng, "names")}  # pyright: ignore[reportGeneralTypeIssues]
    how = rng.choice(("folder", "zip", "tar"))
    if how == "folder":
        return Case(files=names, **facts)
    try:
        data = seeds.zipped(rng, names) if how == "zip" else seeds.tarred(rng, names)
    except (UnicodeError, ValueError):
        return Case(files=names, **facts)
    return Case(files={f"a.{how}": data}, open=f"a.{how}", **facts)
