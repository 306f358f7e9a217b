"""What OpenTelemetry's instrumentation may tell of a request, and no more (README, "Traces").

    OTEL_TRACES_EXPORTER=assistenza opentelemetry-instrument assistenza serve

The instrumentation notes query strings, paths, the client's address and the texts of exceptions,
and so customers' words: PostgreSQL quotes the row that breaks a constraint. Lists of what it should
not note grow with its releases; this exporter has one of what leaves. It is the entry point
`assistenza` among the exporters, and is not imported otherwise: the service does not need the
packages. It is imported before FastAPI is instrumented, and so imports nothing of the service.
"""

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext, SpanKind, Status

_KEPT = {
    # Before and since the stable conventions (OTEL_SEMCONV_STABILITY_OPT_IN).
    *("http.method", "http.request.method", "http.route"),
    *("http.status_code", "http.response.status_code", "error.type"),
    *("db.system", "db.system.name", "db.name", "db.namespace"),
}
_STATEMENTS = {"db.statement", "db.query.text"}
# Their values are parameters. Others have none: the embedded PostgreSQL's passwords are literals.
_WITH_PARAMETERS = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")


class Exporter(OTLPSpanExporter):  # type: ignore[misc]  # its package is not installed for mypy
    """Sends requests and their statements by OTLP over HTTP, without what a caller sent."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        told = [_bare(span) for span in spans if _is_of_interest(span)]
        return super().export(told) if told else SpanExportResult.SUCCESS


def _is_of_interest(span: ReadableSpan) -> bool:
    """False for each message of a request and an answer, and for statements of no request."""
    if span.kind is SpanKind.CLIENT:
        return span.parent is not None
    return "asgi.event.type" not in (span.attributes or {})


def _bare(span: ReadableSpan) -> ReadableSpan:
    kept = {
        name: value
        for name, value in (span.attributes or {}).items()
        if name in _KEPT
        or (name in _STATEMENTS and str(value).lstrip().startswith(_WITH_PARAMETERS))
    }
    return ReadableSpan(
        name=span.name,
        context=_without_state(span.context),
        parent=_without_state(span.parent),
        resource=span.resource,
        attributes=kept,
        kind=span.kind,
        # Its description is the exception's text, as are the span's events.
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _without_state(context: SpanContext | None) -> SpanContext | None:
    """A context without `tracestate`, which is the caller's."""
    if context is None:
        return None
    return SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags)
