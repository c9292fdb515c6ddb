"""Remove the secrets of a call from an error response, before event handlers of the caller read it."""

from __future__ import annotations

from typing import Any, Final

from cp_thirdparty._core.call import MAX_HEADER_BYTES, Call
from cp_thirdparty._core.secret_removal import TooManyEscapesError, remove_secrets, remove_secrets_from_bytes
from cp_thirdparty.secrets import SecretStr

_MASK: Final = str(SecretStr(""))


def clean_headers(headers: Any, call: Call) -> None:
    """Remove the secrets of a call from the headers; mask all headers if they have too many escapes."""
    values = "\n".join(headers.values())
    if len(values) > MAX_HEADER_BYTES:  # aiohttp has no limit, and handlers of the caller may add headers
        call.count_bytes(call.bytes_left + 1)  # this is more than the limit, so it ends the call
    data = values.encode("utf-8", "surrogatepass")
    try:
        is_clean = remove_secrets_from_bytes(data, call.secrets) == data
    except TooManyEscapesError:
        for name in list(headers):  # searching each header alone would take too long, too
            headers[name] = _MASK
        return
    if not is_clean:
        for name, value in list(headers.items()):
            headers[name] = remove_secrets(value, call.secrets)


def store_body(body: bytes, call: Call, *, is_cbor: bool) -> str | None:
    """Store the body without secrets in the call; return why the response is not trusted, or ``None``."""
    try:
        call.error_body = remove_secrets_from_bytes(body, call.secrets, keep_length=is_cbor)
    except TooManyEscapesError:
        return "the error has too many escapes"
    return None
