"""The README's walks are run: its commands by bash, and what it says that they answer.

Times, dates and the years of numbers differ from day to day, and are compared as such; `…` stands
for anything. All else must be in the answers, in the order of the README.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.test_readme import README, ROOT

_SECONDS = 300
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\d(T[\d:.]+Z)?"), "DATE"),
    (re.compile(rf"\d{{1,2}} ({_MONTHS}) \d{{4}}"), "DATE"),
    (re.compile(r"\b20\d\d-(\d{6})\b"), r"YEAR-\1"),
    (re.compile(r"\b(assistenza[cl]?_)[\w-]+"), r"\1TOKEN"),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"\s"), ""),
)


@contextmanager
def _serving(folder: Path, *options: str) -> Iterator[tuple[str, str]]:
    """A running service: its address, and what it has printed at its start."""
    printed = folder / "printed"
    with printed.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "serve", "--port", "0", *options],
            cwd=ROOT,
            env={**os.environ, "ASSISTENZA_DATA_DIR": str(folder / "data")},
            stdout=file,
            stderr=file,
        )
    try:
        text, deadline = "", time.monotonic() + _SECONDS
        while "Uvicorn running on" not in text or (options and "All calls:" not in text):
            assert process.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.1)
            text = printed.read_text()
        yield re.findall(r"http://127\.0\.0\.1:\d+", text)[-1], text
    finally:
        process.terminate()
        process.wait(_SECONDS)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Open to the account that PostgreSQL runs as for root, unlike pytest's own folders."""
    folder = Path(tempfile.mkdtemp(prefix="assistenza-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _section(title: str) -> list[tuple[str, str]]:
    """The commands of a section and of those below it, and what stands right below as the answer.

    Language and text of each block.
    """
    level = title.partition(" ")[0]
    start = README.index(f"\n{title}\n") + 1
    end = re.compile(rf"^#{{1,{len(level)}}} ", re.MULTILINE).search(README, start + len(title))
    assert end is not None
    blocks, after = [], -1
    for block in _BLOCK.finditer(README, start, end.start()):
        if block[1] == "sh" or block.start() == after:
            blocks.append((block[1], block[2]))
            after = block.end() + 1
    return blocks


def _plain(text: str) -> str:
    for pattern, stands_for in _VARYING:
        text = pattern.sub(stands_for, text)
    return text


def _walk(blocks: list[tuple[str, str]], folder: Path, **words: str) -> None:
    """Run the commands of all blocks in one shell, then compare what each has printed."""
    commands = [text for language, text in blocks if language == "sh"]
    script = "".join(f"{text}\necho; echo @@; echo @@ >&2\n" for text in commands)
    words |= {
        ".venv/bin/assistenza": f"{sys.executable} -m app.cli",
        " import licences.csv customers.csv": " import licences.csv customers.csv 2>&1",
        # The statuses, in their order, among the errors.
        "curl -s ": "curl -s -w '%{stderr}%{http_code}\\n' ",
    }
    for word, meant in words.items():
        script = script.replace(word, meant)
    assert "…" not in script
    done = subprocess.run(
        ["bash", "-u"],
        input=script,
        cwd=folder,
        env={
            **os.environ,
            "ASSISTENZA_DATA_DIR": str(folder / "data"),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        },
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    printed = done.stdout.split("\n@@\n")
    errors = done.stderr.split("@@\n")
    assert len(printed) == len(commands) + 1, done.stderr
    n, compared, wrong = -1, 0, []
    for language, text in blocks:
        if language == "sh":
            n += 1
            continue
        compared += 1
        wrong.append(_difference(text, printed[n], errors[n]))
    assert compared
    assert not any(wrong), "\n\n".join(filter(None, wrong))


def _difference(claimed: str, printed: str, errors: str) -> str | None:
    """What the README claims of an answer and is not in it; None if all is."""
    statuses = re.findall(r"^(\d{3}) (?=\{)", claimed, re.MULTILINE)
    claimed = re.sub(r"^\d{3} (?=\{)", "", claimed, flags=re.MULTILINE)
    given = re.findall(r"^\d{3}$", errors, re.MULTILINE)
    rest = iter(given)
    if not all(status in rest for status in statuses):
        return f"answered {given}, not {statuses}"
    # A command's messages are claimed beside its output.
    answer = _plain(printed + errors)
    place = 0
    for part in map(_plain, claimed.split("…")):
        found = answer.find(part, place)
        if found < 0:
            return f"not in the answer, or not in this order:\n{part}\n---\n{answer[place:]}"
        place = found + len(part)
    return None


def test_the_tour(folder: Path) -> None:
    with _serving(folder, "--demo") as (address, greeting):
        shown = re.findall(r"^  (\w+).*:\n.*Bearer ([\w-]+)", greeting, re.MULTILINE)
        tokens = {name.upper(): token for name, token in shown}
        words = {
            f"{name}=assistenza_…": f"{name}={tokens[name]}"
            for name in ("PHONE", "CRM", "TECHNICIAN", "DASHBOARD")
        }
        _walk(_section("## Tour"), folder, **words, **{"http://127.0.0.1:8000": address})


def test_the_walk_after_an_empty_start(folder: Path) -> None:
    with _serving(folder) as (address, _):
        words = {"http://127.0.0.1:8001": address, "$HOME/assistenza": str(folder / "data")}
        _walk(_section("### After an empty start"), folder, **words)
