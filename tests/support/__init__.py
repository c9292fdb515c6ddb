"""Fixtures, servers, builders and helpers that the tests share."""
