"""The alert rules that `assistenza deploy` prints: as promtool sees them, of metrics there are."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from app.http.metrics import JobMetrics, Metrics
from tests.command import ROOT, run

_RULES = "prometheus-alerts.yml"
_TESTS = ROOT / "tests" / "operation" / "alerts_test.yml"


@pytest.fixture(scope="module")
def rules() -> str:
    printed = run("deploy", _RULES)
    assert printed.returncode == 0, printed.stderr
    return printed.stdout


def test_the_names_are_listed_and_another_is_refused() -> None:
    assert _RULES in run("deploy").stdout.splitlines()
    refused = run("deploy", "../cli.py")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "unknown file '../cli.py'" in refused.stderr


def test_every_metric_of_the_rules_is_one_of_the_service(rules: str) -> None:
    named = set(re.findall(r"\bassistenza_\w+", rules))
    assert len(named) >= 6
    metrics = Metrics()
    JobMetrics(metrics)
    served = generate_latest(metrics).decode()
    assert named <= set(re.findall(r"^# TYPE (\w+)", served, re.MULTILINE))


def test_promtool_runs_the_rules(rules: str, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not here")
    (tmp_path / _RULES).write_text(rules)
    shutil.copy(_TESTS, tmp_path)
    for command in (["check", "rules", _RULES], ["test", "rules", _TESTS.name]):
        done = subprocess.run(
            [promtool, *command], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
