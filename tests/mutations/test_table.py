"""The table of mutations still fits the code; `python -m tests.mutations` runs it."""

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
