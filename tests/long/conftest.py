"""Fixtures of the long tests."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.long.home import Home


@pytest.fixture
def home() -> Iterator[Home]:
    # As root the database runs as another account, which must be able to pass through.
    parent = Path(tempfile.mkdtemp(prefix="assistenza-long-"))
    parent.chmod(0o755)
    home = Home(parent / "data")
    try:
        yield home
    finally:
        home.end()
        shutil.rmtree(parent, ignore_errors=True)
