"""Open the journal that the user names: a SQLite file or a DynamoDB table."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import botocore.session
from botocore.exceptions import BotoCoreError

from cp_thirdparty._base.text import escape
from cp_thirdparty._cli.aws_settings import choose_region
from cp_thirdparty._cli.errors import GENERAL_ERROR, CommandError, setting_error
from cp_thirdparty._cli.output import warn
from cp_thirdparty._core.errors import configuration_error_of
from cp_thirdparty.exceptions import InvalidRequestError
from cp_thirdparty.worker._dynamodb_table import create_client
from cp_thirdparty.worker._sqlite_rows import read_journal
from cp_thirdparty.worker.dynamodb_journal import DynamoDBJournal
from cp_thirdparty.worker.journal import JournalEntry, SetAside
from cp_thirdparty.worker.sqlite_journal import SqliteJournal

_SCHEME: Final = "dynamodb://"
_TABLE: Final = re.compile(r"[a-zA-Z0-9_.-]{3,255}")
_ARN: Final = re.compile(r"arn:[a-z0-9-]+:dynamodb:(?P<region>[a-z0-9-]+):\d{12}:table/[a-zA-Z0-9_.-]{3,255}")


def open_journal(name: str, *, region: str | None = None, profile: str | None = None) -> _FileSource | _TableSource:
    """Open a journal by its name: the path of a file, ``dynamodb://TABLE``, or the ARN of a table."""
    table, arn = name.removeprefix(_SCHEME), _ARN.fullmatch(name)
    if arn is not None:
        return _TableSource(name, region or arn["region"], profile)
    if table != name or name.startswith("arn:"):
        if not _TABLE.fullmatch(table):
            raise CommandError(f"JOURNAL: must be a file, {_SCHEME}TABLE, or the ARN of a DynamoDB table")
        return _TableSource(table, region, profile)
    path = Path(os.path.realpath(name))  # for a symbolic link to itself, Path.resolve() may raise RuntimeError
    if path.is_dir():
        raise CommandError(f"{escape(name)}: is a directory; name the file of the journal in it", GENERAL_ERROR)
    if not path.is_file():
        raise CommandError(f"{escape(name)}: there is no such file", GENERAL_ERROR)  # SQLite would create a new file
    return _FileSource(path)


class _FileSource:
    """A journal in a SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, *, unfinished_only: bool) -> Iterator[JournalEntry | SetAside]:
        yield from read_journal(self._path, unfinished_only=unfinished_only)

    def observe_owners(self) -> None:
        """Do nothing: `read` finds out by itself which processes are running."""

    def end(self, job_id: str) -> None:
        with closing(SqliteJournal(self._path)) as opened:
            opened.end(job_id)


class _TableSource:
    """A journal in a DynamoDB table."""

    def __init__(self, table_name: str, region: str | None, profile: str | None) -> None:
        client = _create_client(region, profile)
        # This object writes to the table only in `end`.  It claims no job, so it creates no lease.
        self._journal: Any = DynamoDBJournal(table_name, client=client)

    def read(self, *, unfinished_only: bool) -> Iterator[JournalEntry | SetAside]:
        yield from self._journal._read_all(unfinished_only=unfinished_only)  # noqa: SLF001 - for this command

    def observe_owners(self) -> None:
        """Wait until each worker has renewed its lease or its lease has expired."""
        is_first = True
        for wait, longest in self._journal._observe_owners():  # noqa: SLF001 - for this command
            if is_first:
                warn(f"looking for signs of life of the workers, for up to {longest:.0f} seconds")
            is_first = False
            time.sleep(wait)

    def end(self, job_id: str) -> None:
        self._journal.end(job_id)


def _create_client(region: str | None, profile: str | None) -> Any:
    try:
        return create_client(botocore.session.Session(profile=profile), choose_region(region))
    except (BotoCoreError, ValueError) as failure:
        error = configuration_error_of(failure)
    raise setting_error(error, region) if isinstance(error, InvalidRequestError) else error
