"""Load an object of the user that an option names as ``MODULE:NAME``."""

from __future__ import annotations

import sys
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

from cp_thirdparty._cli.errors import CommandError

__all__ = ["load_object"]


def load_object(reference: str, name: str, *, kind: str, example: str) -> Any:
    """Import a module, also from the working directory, and return an object of it."""
    module, _, path = reference.partition(":")
    if not (module and path):
        raise CommandError(f"{name}: must be a module and a {kind}, such as {example}")
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    try:
        return reduce(getattr, path.split("."), import_module(module))
    except AttributeError:
        problem = f"the module has no such {kind}"
    except Exception as error:  # noqa: BLE001 - code of the user
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        problem = (
            f"there is no module {missing}" if missing else f"the import of the module raises {type(error).__name__}"
        )
    finally:
        sys.path.pop(0)
    raise CommandError(f"{name}: {problem}")
