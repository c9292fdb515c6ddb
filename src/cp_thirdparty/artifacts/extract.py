"""`extract_archive()`: extract a complete archive into a new directory, or create nothing."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import attrs

from cp_thirdparty.artifacts._bounds import Bounds
from cp_thirdparty.artifacts._extraction import Extraction
from cp_thirdparty.artifacts._local_files import LocalPath, check_limits, open_file, to_path
from cp_thirdparty.artifacts._transfer import ProgressCallback, Reporter
from cp_thirdparty.artifacts.limits import ArchiveLimits
from cp_thirdparty.exceptions import ArtifactError

__all__ = ["extract_archive"]


def extract_archive(
    archive: LocalPath,
    *,
    to: LocalPath,
    limits: ArchiveLimits | None = None,
    progress: ProgressCallback | None = None,
    deadline: float | None = None,
    is_cancelled: Callable[[], bool] | None = None,
    symlinks: bool | None = None,
) -> Path:
    """
    Extract a zip archive into a new directory and return it.

    The directory appears only when it is complete.  First, all names, links and sizes of the archive are checked.  Then
    the archive is extracted into a temporary directory beside ``to``, and each size and checksum is checked.  At last,
    the temporary directory is renamed to ``to``.  The use of memory is limited, whatever the archive contains.

    A file gets the permissions 0644, or 0755 if the archive marks it as executable.  Permissions that the archive or
    the umask of the process does not allow are removed, but the owner can always read the file.  Modification times are
    not restored.

    If the process is killed, a directory ``.cp-thirdparty-tmp-…`` remains beside ``to``.  The next extraction with the
    same parent directory removes it, and so does ``cp-thirdparty sweep``.

    Thread-safe.

    Args:
        archive: Path of the archive.
        to: Path of the directory to create.  It must not exist, and its parent directory must exist.
        limits: What the archive may contain; ``None`` for the defaults of `ArchiveLimits`.
        progress: Called in this thread with the number of bytes written since the last call.  If it raises an
            exception, the extraction is aborted and this function raises that exception.

            .. versionadded:: 0.2.0

        deadline: The time at which the extraction must end, in seconds since 1970; ``None`` for no limit.  A handler of
            jobs should pass ``job.deadline``.

            .. versionadded:: 0.2.0

        is_cancelled: Returns whether the extraction must be aborted.  It is called in this thread, for each piece of a
            file.

            .. versionadded:: 0.2.0

        symlinks: Deprecated: use ``limits=ArchiveLimits(symlinks="keep")`` or ``"refuse"``.

    Raises:
        cp_thirdparty.exceptions.UnsafeArchiveError: The archive is damaged, or breaks a rule or a limit.  The error
            names the entry and the rule.
        cp_thirdparty.exceptions.ArtifactFileError: The archive cannot be read, or the files cannot be written.  If the
            free space of the disk is too small for all files, nothing is written.
        cp_thirdparty.exceptions.ArtifactError: ``to`` already exists, or another user replaced the temporary directory
            or its parent during the extraction.
        cp_thirdparty.exceptions.ArtifactTransferError: The deadline was reached, or ``is_cancelled`` returned true.
        TypeError: An argument has the wrong type.
    """
    source, target, limits = to_path(archive, "archive"), to_path(to, "to"), check_limits(limits)
    if symlinks is not None:
        choice: Literal["keep", "refuse"] = "keep" if symlinks else "refuse"
        warnings.warn(
            f'symlinks= is deprecated: use limits=ArchiveLimits(symlinks="{choice}")', DeprecationWarning, stacklevel=2
        )
        limits = attrs.evolve(limits, symlinks=choice)
    bounds = Bounds(deadline=deadline, is_cancelled=is_cancelled)
    reporter = Reporter(progress, bounds.start("extraction").check_deadline)
    if os.path.lexists(target):
        raise ArtifactError("to: must not exist")
    error = Extraction(source, target, limits, reporter).run(lambda: open_file(source))
    if error is not None:
        raise error
    return target
