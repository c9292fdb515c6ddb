"""Read the settings of the AWS CLI from options, environment variables and the AWS configuration file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

from cp_thirdparty._base.text import show
from cp_thirdparty._cli.errors import ENVIRONMENT, CommandError

FORMATS: Final = ("json", "text", "table", "yaml", "yaml-stream")

_PROMPTS: Final = {"on": True, "on-partial": True, "off": False}


def choose_region(option: str | None) -> str | None:
    """Return the region of the option or of AWS_REGION, which botocore ignores; ``None`` if botocore must choose."""
    return option or os.environ.get("AWS_REGION") or None


class AwsSettings:
    """Reads settings as the AWS CLI does: the option, the environment variable, the profile, at last the default."""

    def __init__(self, profile: str | None = None) -> None:
        self._profile = profile

    def output(self, option: str | None, default: str = "json") -> str:
        """Return the output format."""
        return option or self._choose("AWS_DEFAULT_OUTPUT", "output", FORMATS) or default

    def prompts(self, *, option: bool | None) -> bool | None:
        """Return whether the user is prompted for missing parameters; ``None`` if nothing is set."""
        if option is not None:
            return option
        chosen = self._choose("AWS_CLI_AUTO_PROMPT", "cli_auto_prompt", tuple(_PROMPTS))
        return None if chosen is None else _PROMPTS[chosen]

    def pager(self) -> str:
        """Return the command of the pager; an empty string if the output is not sent to a pager."""
        pager = os.environ.get("AWS_PAGER", self._keys.get("cli_pager"))
        return str(os.environ.get("PAGER", "less") if pager is None else pager)

    def _choose(self, variable: str, key: str, choices: Sequence[str]) -> str | None:
        name, chosen = variable, os.environ.get(variable)
        if not chosen:
            name, chosen = f"{key} of the profile in the AWS configuration", self._keys.get(key)
        if chosen and chosen not in choices:
            raise CommandError(f"{show(name)}: must be one of {', '.join(choices)}", ENVIRONMENT)
        return chosen or None

    @cached_property
    def _keys(self) -> dict[str, Any]:
        import botocore.session  # noqa: PLC0415 - not needed if a variable is set
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - few calls use it

        try:
            return dict(botocore.session.Session(profile=self._profile).get_scoped_config())
        except BotoCoreError:
            # The client cannot be created for the same reason, and that error names the profile or the file.
            return {}
