"""The version of this package, read by the build and by the user agent."""

__version__ = "0.2.0"
