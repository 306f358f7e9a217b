"""Pages of operation beside the store: what they list is what there is."""

import re
from pathlib import Path

import pytest

from app.store.tables import metadata
from tests.command import ROOT

_PAGES = ROOT / "app" / "store"


def test_the_table_of_how_far_it_goes_has_every_table_once() -> None:
    text = (_PAGES / "HOW-FAR-IT-GOES.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \| ", text, re.MULTILINE)
    named = re.findall(r"`(\w+)`", "".join(rows))
    assert sorted(named) == sorted(metadata.tables)


@pytest.mark.parametrize("page", sorted(_PAGES.glob("*.md")), ids=lambda page: page.name)
def test_links_of_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
