"""The command line: the five operations and a worker's helpers, with secrets masked."""

__all__: list[str] = []
