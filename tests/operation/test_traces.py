"""OpenTelemetry by `opentelemetry-instrument`, as the README says: no customer's words in spans.

A collector of a few lines takes what the service sends. The packages are installed for this test
alone. Run by `bash .ci/run --full`.
"""

import json
import re
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.command import ROOT
from tests.operation.running import Running, command, directory, free_port, running

pytestmark = pytest.mark.pooler

_WORD = "Rossi-4711"
"""Stands in every place that a caller can write to; phone numbers have its digits."""
_DIGITS = "5904711"
_COLLECTOR = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(sys.argv[2], "a") as file:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        file.write(json.dumps(MessageToDict(span)) + "\\n")
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

HTTPServer(("127.0.0.1", int(sys.argv[1])), Collector).serve_forever()
"""


def variables_of_the_readme() -> dict[str, str]:
    text = (ROOT / "README.md").read_text("utf-8")
    exports, program = "((?: *export OTEL_.*\n)+)", r" *\S+/opentelemetry-instrument \S+ serve\n"
    (found,) = re.findall(exports + program, text)
    return dict(re.findall(r"export (\w+)=(\S+)", found))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with directory() as folder:
        yield folder


@pytest.fixture(scope="module")
def packages(folder: Path) -> Path:
    """A folder with the packages and with this program, which names its exporter."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    install = (sys.executable, "-m", "pip", "install", "--quiet", "--target", folder / "packages")
    extra = project["optional-dependencies"]["traces"]
    subprocess.run([*install, *extra], check=True, timeout=600)
    subprocess.run([*install, "--no-deps", "--no-build-isolation", ROOT], check=True, timeout=600)
    return folder / "packages"


_SPAN = f"""
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, SpanContext
from app.http.traces import _bare

tracer = TracerProvider().get_tracer("a")
link = Link(SpanContext(1, 2, True), {{"who": "{_WORD}"}})
try:
    with tracer.start_as_current_span("INSERT", links=[link]) as span:
        span.set_attribute("db.statement", "ALTER ROLE a PASSWORD '{_WORD}'")
        span.set_attribute("db.statement.parameters", "('{_WORD}',)")
        raise ValueError("Key (code)=({_WORD}) already exists.")
except ValueError:
    print(span.to_json(indent=None), _bare(span).to_json(indent=None), sep="\\n")
"""


@contextmanager
def traced(packages: Path, **how: Any) -> Iterator[tuple[Running, Path]]:
    """A service that sends traces, and the file in which its collector writes every span."""
    port = free_port()
    spans = packages.parent / f"spans-{port}"
    variables = variables_of_the_readme() | {"PYTHONPATH": str(packages)}
    assert variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:4318"
    variables |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    collector = subprocess.Popen(
        [sys.executable, "-c", _COLLECTOR, str(port), str(spans)], env=variables
    )
    before = [packages / "bin" / "opentelemetry-instrument"]
    try:
        with running(
            before=before, variables=variables | how.pop("variables", {}), **how
        ) as service:
            yield service, spans
    finally:
        collector.kill()
        collector.wait()


def ask(service: Running, token: str) -> Counter[int]:
    """Requests that have the word in every part, some of them refused; how they were answered."""
    answers: Counter[int] = Counter()
    headers = {
        "Authorization": f"Bearer {token}",
        "User-Agent": _WORD,
        "X-Request-Id": _WORD,
        "Accept-Language": _WORD,
        "baggage": f"customer={_WORD}",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": f"vendor={_WORD}",
    }
    with httpx.Client(base_url=service.address, headers=headers, timeout=30) as client:

        def send(method: str, path: str, **more: Any) -> None:
            answers[client.request(method, path, **more).status_code] += 1

        customer = {
            "code": _WORD,
            "name": _WORD,
            "country": "IT",
            "contacts": [
                {"name": _WORD, "email": f"{_WORD}@example.com", "phones": [f"+390{_DIGITS}1"]}
            ],
        }
        yesterday = (datetime.now(UTC) - timedelta(days=2)).date().isoformat()
        licence = {
            "customer_id": _WORD,
            "kind": "editor",
            "product": _WORD,
            "version": "4.2",
            "purchased_on": yesterday,
            "serial_number": _WORD,
        }
        # The second of each breaks a unique constraint, whose message quotes the value.
        for _ in range(2):
            send("POST", "/v1/customers", json=customer, headers={"Idempotency-Key": _WORD})
            send("POST", "/v1/customers", json=customer)
            send("POST", "/v1/licences", json=licence)
        malformed = {"content": f'{{"{_WORD}": ', "headers": {"Content-Type": "application/json"}}
        send("POST", "/v1/customers", **malformed)
        for query in (
            {"customer_code": _WORD},
            {"serial_number": _WORD},
            {"email": f"{_WORD}@example.com"},
            {"phone": f"0{_DIGITS}1", "region": "IT"},
            {_WORD: _WORD},
        ):
            send("GET", "/v1/entitlements", params=query)
            send("GET", "/v1/entitlements/check", params={"service": "phone_support", **query})
        send("GET", "/v1/customers", params={"q": _WORD})
        send("GET", f"/v1/customers/{_WORD}")
        send("GET", f"/v1/licences/{_WORD}")
        send("GET", f"/{_WORD}")
        send("GET", f"/v1/{_WORD}/{_WORD}?{_WORD}")
        send("GET", "/v1/customers", headers={"Authorization": f"Bearer {_WORD}"})
        send("GET", "/livez", headers={"Host": _WORD})
        send("PROPFIND", f"/v1/customers/{_WORD}")
    return answers


def told(file: Path, requests: int) -> list[dict[str, Any]]:
    """The spans, once those of so many requests have arrived."""
    deadline = time.monotonic() + 60
    while True:
        lines = file.read_text().splitlines() if file.exists() else []
        spans = [json.loads(line) for line in lines]
        # The service was asked for its readiness before.
        asked = [span for span in spans if is_request(span) and "readyz" not in span["name"]]
        if len(asked) >= requests:
            return spans
        assert time.monotonic() < deadline, f"{len(asked)} of {requests} requests were told"
        time.sleep(0.2)


def is_request(span: dict[str, Any]) -> bool:
    return bool(span["kind"] == "SPAN_KIND_SERVER")


def attributes(span: dict[str, Any]) -> dict[str, str]:
    return {
        one["key"]: str(next(iter(one["value"].values()))) for one in span.get("attributes", ())
    }


def token_of(folder: Path) -> str:
    kinds = ("customers:read", "customers:write", "licences:read", "licences:write")
    scopes = [f"--scope={one}" for one in (*kinds, "entitlements:read")]
    return command({"data_dir": folder / "data"}, "keys", "create", "--name", "a", *scopes)


@pytest.mark.parametrize("workers", [1, 2])
def test_no_word_of_a_caller_is_in_a_span(folder: Path, packages: Path, workers: int) -> None:
    token = token_of(folder)
    with traced(packages, data_dir=folder / "data", workers=workers) as (service, file):
        answers = ask(service, token)
        spans = told(file, answers.total())
    assert {200, 201, 401, 404, 405, 409, 422} <= answers.keys()
    assert not [span for span in spans if said_by_caller(span)]
    credentials = json.loads((folder / "data" / "credentials.json").read_text())
    assert not [one for one in credentials.values() if one in file.read_text()]

    document = json.loads((ROOT / "openapi" / "openapi.json").read_text())
    routes = {*document["paths"], "/livez", "/readyz"}
    requests = [span for span in spans if is_request(span)]
    for span in requests:
        method, _, route = span["name"].partition(" ")
        assert method in {"GET", "POST", "HTTP"}
        assert route in routes | {""}
        assert attributes(span).get("http.route", "") == route
        assert attributes(span)["http.status_code"]
    names = Counter(span["name"] for span in requests)
    # Those that take the short way too.
    assert names["GET /v1/entitlements"] == names["GET /v1/entitlements/check"] == 5
    # Each request that the database was asked for has its statements, without their parameters.
    asked = {span["parentSpanId"] for span in spans if not is_request(span)}
    kinds = {span["name"] for span in spans if not is_request(span)}
    assert "SELECT" in kinds
    assert all(re.fullmatch(r"[a-z]+;?", kind.lower()) for kind in kinds)
    lookups = [span for span in requests if span["name"] == "GET /v1/entitlements"]
    assert {span["spanId"] for span in lookups[:4]} <= asked
    assert any("$1" in attributes(span).get("db.statement", "") for span in spans)


def said_by_caller(span: dict[str, Any]) -> bool:
    return any(one in json.dumps(span).lower() for one in (_WORD.lower(), _DIGITS))


def test_another_exporter_would_tell_them(folder: Path, packages: Path) -> None:
    """So the words do reach the instrumentation, and the collector would see them."""
    token = token_of(folder)
    plain = {"OTEL_TRACES_EXPORTER": "otlp_proto_http"}
    with traced(packages, data_dir=folder / "data", variables=plain) as (service, file):
        spans = told(file, ask(service, token).total())
    leaks = Counter(
        name
        for span in spans
        for name, value in [
            *attributes(span).items(),
            ("traceState", span.get("traceState", "")),
        ]
        if _WORD in value
    )
    assert {"http.url", "http.target", "http.user_agent", "traceState"} <= leaks.keys()


def test_texts_of_exceptions_stay(packages: Path) -> None:
    """PostgreSQL quotes the row that breaks a constraint. Words may come with links too."""
    done = subprocess.run(
        [sys.executable, "-c", _SPAN],
        cwd=ROOT,
        env={"PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    whole, bare = map(json.loads, done.stdout.splitlines())
    for part in ("attributes", "events", "links", "status"):
        assert _WORD in json.dumps(whole[part])
    assert _WORD not in json.dumps(bare)
    assert bare["status"] == {"status_code": "ERROR"}
    assert bare["name"] == "INSERT"
    assert bare["context"] == whole["context"]
