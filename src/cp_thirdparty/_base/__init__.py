"""Modules that need no other module of this library: limits, strings for logs, tracebacks, lazy imports."""
