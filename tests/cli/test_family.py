"""'progan family' and its catalog against the registries and the documentation."""

from pathlib import Path

import pytest

from progan.cli import main
from progan.presets import PRESETS
from progan.presets.catalog import FAMILY
from progan.snapshot.registry import GANS

ROOT = Path(__file__).parents[2]
NO_MEMBERS = {"mnist_1k", "points", "artefacts", "super_resolution"}
"""Kinds of networks that are no GAN of a paper of their own."""


def test_every_gan_is_in_the_family_with_its_files_and_presets() -> None:
    kinds = [kind for member in FAMILY.values() for kind in member.kinds]
    assert sorted(kinds) == sorted(GANS.keys() - NO_MEMBERS)
    for member in FAMILY.values():
        assert member.preset in PRESETS
        assert all((ROOT / "src/progan" / module).is_file() for module in member.modules)
        assert member.preset in (*member.presets, "auto")
        assert all(text.strip() for text in (*member.formula, *member.measured, member.needs, member.advice))


def test_the_table_and_each_page_name_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["family"]) == 0
    table = capsys.readouterr().out
    for name, member in FAMILY.items():
        assert f"\n{name} " in table
        assert main(["family", name.upper().replace("_", "-")]) == 0
        page = capsys.readouterr().out
        assert all(line in page for line in (*member.formula, *member.measured))
        for preset in member.presets:
            description = page.partition(f"  {preset} ")[2].partition("\n")[0]
            assert description.endswith("."), f"{preset} is cut off"
        assert f"progan train {member.preset if member.preset == 'auto' else ''}" in page


def test_an_unknown_name_is_one_line_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["family", "dcgann"]) == 2
    assert capsys.readouterr().err == "error: unknown GAN 'dcgann'; did you mean dcgan or cgan?\n"


def test_the_documentation_has_every_member_with_its_formula() -> None:
    page = (ROOT / "docs/family.md").read_text()
    for member in FAMILY.values():
        section = page[page.index(f"\n## {member.title}\n") :]
        assert f"`{member.preset}`" in page
        for line in member.formula:
            assert line.split("  ")[0] in section
