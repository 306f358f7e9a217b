"""The table of mutations still fits the code; `python -m tests.mutations` runs it."""

import re
from pathlib import Path

import pytest

from tests.mutations.table import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: f"{one.clause}: {one.what}")
def test_the_code_is_where_the_table_says(mutation: Mutation) -> None:
    code = (ROOT / mutation.file).read_text()
    assert code.count(mutation.old) == 1
    compile(code.replace(mutation.old, mutation.new), mutation.file, "exec")
    assert all((ROOT / tests).exists() for tests in mutation.tests)


def test_every_clause_of_cases_and_allowances_has_one() -> None:
    clauses = {int(n) for one in MUTATIONS if (n := re.sub(r"^R(?=\d)", "", one.clause)).isdigit()}
    assert clauses >= {11, *range(14, 34)}
