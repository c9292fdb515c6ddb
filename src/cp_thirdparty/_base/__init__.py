"""Modules that need no other module of this library: limits, text for logs, tracebacks, lazy imports."""
