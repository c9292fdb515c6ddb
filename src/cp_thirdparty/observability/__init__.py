"""
What operators see of workers: metrics for Prometheus, and a small HTTP server for probes.

The metrics need the extra ``prometheus``.  Every name is loaded when it is first used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cp_thirdparty.observability._health_server import HealthServer
    from cp_thirdparty.observability._prometheus import PrometheusMetrics, prometheus_metrics

__all__ = ["HealthServer", "PrometheusMetrics", "prometheus_metrics"]

_HOMES = {
    "HealthServer": "observability._health_server",
    "PrometheusMetrics": "observability._prometheus",
    "prometheus_metrics": "observability._prometheus",
}

if not TYPE_CHECKING:  # pragma: no branch - else type checkers would take any name for one of ours
    from cp_thirdparty._base import lazy as _lazy

    _NEEDS = dict.fromkeys(("PrometheusMetrics", "prometheus_metrics"), "prometheus_client")
    __getattr__, __dir__ = _lazy.attach(__name__, __all__, _HOMES, needs=_NEEDS)
    del __all__  # `__getattr__` gives it, without the names whose extra is not installed
