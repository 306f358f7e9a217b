"""A skipped test fails the run, unless its reason is among the allowed ones."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.skips import ALLOWED, allowed

ROOT = Path(__file__).parents[1]
TEST = """
import pytest

def test_passes():
    pass

@pytest.mark.parametrize("number", [1, 2])
def test_skips(number):
    pytest.skip("there is no printer here")
"""


@pytest.mark.parametrize(
    ("workers", "line", "code"),
    [
        ("0", "test_one.py::test_skips: the paper is out", 1),
        ("2", "test_one.py::test_passes: there is no printer here", 1),
        ("2", "test_one.py::test_skips: there is no printer*", 0),
    ],
)
def test_only_what_is_listed_may_be_skipped(
    tmp_path: Path, workers: str, line: str, code: int
) -> None:
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\n")
    (tmp_path / "test_one.py").write_text(TEST)
    (tmp_path / "conftest.py").write_text(
        "def pytest_configure(config):\n"
        "    from tests.skips import SkipsCheck, allowed\n"
        "    if not hasattr(config, 'workerinput'):\n"
        f"        config.pluginmanager.register(SkipsCheck(allowed([{line!r}])))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", workers, "-p", "no:schemathesis"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert ("not allowed by" in done.stdout) == bool(code)


def test_each_line_gives_a_reason() -> None:
    assert list(allowed(ALLOWED.read_text("utf-8").splitlines()))
    with pytest.raises(ValueError, match="without a reason"):
        list(allowed(["tests/test_one.py::test_two"]))
