"""What operators see of workers: metrics for Prometheus, and a small HTTP server for probes."""

from cp_thirdparty.observability._health_server import HealthServer
from cp_thirdparty.observability._prometheus import PrometheusMetrics, prometheus_metrics

__all__ = ["HealthServer", "PrometheusMetrics", "prometheus_metrics"]
