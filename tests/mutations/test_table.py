"""The table of mutations still fits the code; `python -m tests.mutations` runs it."""

from pathlib import Path

import pytest

from tests.mutations.edits import Edit, condition, drop, expression, text
from tests.mutations.table import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: f"{one.clause}: {one.what}")
def test_the_code_is_where_the_table_says(mutation: Mutation) -> None:
    code = (ROOT / mutation.file).read_text()
    changed = mutation.edit(code)
    assert changed != code
    compile(changed, mutation.file, "exec")
    assert all((ROOT / tests).exists() for tests in mutation.tests)


_CODE = """
WANTED = text("SELECT min(n) FROM t")


class Desk:
    def serve(self, caller: str) -> int:
        if caller == "à":
            if not caller.strip():
                raise Refused(caller)
            self.answer(caller)
        return len(caller)
"""


@pytest.mark.parametrize(
    ("edit", "gone", "come"),
    [
        (drop("Desk.serve", "Refused"), "            if not caller.strip():", "            pass\n"),
        (drop("Desk.serve", "answer"), "self.answer(caller)", "            pass\n"),
        (condition("Desk.serve", "answer", "True"), 'if caller == "à":', "if True:"),
        (expression("Desk.serve", "len( caller )", "0"), "len(caller)", "return 0\n"),
        (text("WANTED", r"min\(", "max("), "min", "SELECT max(n)"),
    ],
)
def test_an_edit_changes_one_place(edit: Edit, gone: str, come: str) -> None:
    changed = edit(_CODE)
    assert gone in _CODE
    assert gone not in changed
    assert come in changed
    compile(changed, "desk", "exec")


def test_an_edit_without_its_place_is_an_error() -> None:
    for edit in (drop("Desk.serve", "paint"), drop("Desk.open", "x"), text("WANTED", "max", "")):
        with pytest.raises(LookupError):
            edit(_CODE)
