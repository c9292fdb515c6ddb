"""
Observe workers: metrics for Prometheus, and a small HTTP server for probes.

The metrics need the extra ``prometheus``.  The module of each name is imported at the first use of the name.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cp_thirdparty.observability._health_server import HealthServer
    from cp_thirdparty.observability._prometheus import PrometheusMetrics, prometheus_metrics

__all__ = ["HealthServer", "PrometheusMetrics", "prometheus_metrics"]

# Module -> its names here.
_NAMES = {
    "observability._health_server": ("HealthServer",),
    "observability._prometheus": ("PrometheusMetrics", "prometheus_metrics"),
}

if not TYPE_CHECKING:  # pragma: no branch - otherwise type checkers would accept any name
    from cp_thirdparty._base import lazy as _lazy

    _NEEDS = dict.fromkeys(("PrometheusMetrics", "prometheus_metrics"), "prometheus_client")
    __getattr__, __dir__ = _lazy.attach(__name__, __all__, _NAMES, needs=_NEEDS)
    del __all__  # `__getattr__` returns it without the names whose extra is not installed
