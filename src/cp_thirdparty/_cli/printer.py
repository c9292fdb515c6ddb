"""Print a document as the options, the environment and the AWS configuration request."""

from __future__ import annotations

from typing import Any

from cp_thirdparty._cli.aws_settings import AwsSettings
from cp_thirdparty._cli.formats import compile_query, format_document
from cp_thirdparty._cli.options import Settings
from cp_thirdparty._cli.output import is_colored, terminal_width, write

__all__ = ["Printer"]


class Printer:
    """Prints documents.  A wrong query or format raises `CommandError` when the printer is created."""

    def __init__(self, settings: Settings, default_output: str = "json") -> None:
        self._settings = settings
        self._aws = AwsSettings(settings.profile)
        self._query = compile_query(settings.query)
        self._output = self._aws.output(settings.output, default_output)

    def print(self, document: dict[str, Any], title: str) -> None:
        """Apply the query to a document, and write the result to standard output or to the pager."""
        self.write(self.format(document, title))

    def format(self, document: dict[str, Any], title: str) -> str:
        """Apply the query to a document, and return the result in the chosen format."""
        color, width = is_colored(self._settings.color), terminal_width()
        return format_document(self._query(document), self._output, title=title, color=color, width=width)

    def write(self, text: str) -> None:
        """Write to standard output or to the pager."""
        write(text, pager="" if self._settings.no_cli_pager else self._aws.pager())
