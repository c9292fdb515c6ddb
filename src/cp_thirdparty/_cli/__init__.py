"""The command line: the operations as ``aws codepipeline`` has them, with secrets masked unless they are asked for."""

__all__: list[str] = []
