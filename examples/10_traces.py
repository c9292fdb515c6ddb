"""
Trace jobs with OpenTelemetry: a span for each handler, in the thread of its job.

Runs offline.  A span has ids and names, and never the configuration or a token.

Requires: cp-thirdparty, opentelemetry-sdk
"""

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cp_thirdparty import (
    ActionConfiguration,
    ActionTypeId,
    Job,
    JobWorker,
    Succeeded,
)
from cp_thirdparty.testing import LocalCodePipeline

SCAN = ActionTypeId(
    category="Test", owner="ThirdParty", provider="ExampleScan", version="1"
)
TOKEN = "the client token of client-1"
tracer = trace.get_tracer("example-scan")


def scan(job: Job[ActionConfiguration | None]) -> Succeeded:
    """Do the work in a span, in which instrumented calls of AWS have spans too."""
    attributes = {"codepipeline.job.id": job.id}
    # The message of an exception may hold anything, so the span gets its type only.
    with tracer.start_as_current_span(
        "scan",
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            return Succeeded()
        except Exception as failure:
            span.set_attribute("error.type", type(failure).__name__)
            raise


def main() -> None:
    """Run one job, and print its span."""
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    with LocalCodePipeline() as service:
        service.register_client("client-1", TOKEN)
        action = service.start_action(
            SCAN, client_id="client-1", configuration={"ApiKey": "k-12345"}
        )
        with JobWorker(
            service.client, SCAN, scan, client_tokens={"client-1": TOKEN}
        ) as worker:
            worker.run_once()
    (span,) = spans.get_finished_spans()
    print(span.name, dict(span.attributes or {}), action.status)
    if TOKEN in span.to_json() or "k-12345" in span.to_json():
        raise SystemExit("a secret is in the span")


if __name__ == "__main__":
    main()
