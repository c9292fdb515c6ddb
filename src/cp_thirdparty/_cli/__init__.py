"""The command line: the operations as ``aws codepipeline`` has them, with masked secrets by default."""

__all__: list[str] = []
