"""The W3C trace context of the caller, if an OpenTelemetry span is active."""

from __future__ import annotations

import sys


def current_trace_context() -> tuple[str, str]:
    """Return `traceparent` and `tracestate`, empty texts if there are none."""
    if "opentelemetry" not in sys.modules:  # nobody can have started a span
        return "", ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", ""), carrier.get("tracestate", "")
