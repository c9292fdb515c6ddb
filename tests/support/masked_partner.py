"""A partner's module, whose token store and configuration class hold markers."""

from __future__ import annotations

import attrs

from cp_thirdparty import SecretStr

_TOKEN = 'xMARK/"client_token"'


@attrs.frozen
class Scan:
    """It has a key that the job has, and one that it has not."""

    api_key: SecretStr
    minutes: int


@attrs.frozen
class Refuses:
    """It raises the value."""

    api_key: str

    def __attrs_post_init__(self) -> None:
        """Raise it."""
        raise ValueError(self.api_key)


def tokens(client_id: str) -> str:
    """Return the token of each client."""
    del client_id
    return _TOKEN


def broken(client_id: str) -> str:
    """Raise the token."""
    raise LookupError(client_id + _TOKEN)
