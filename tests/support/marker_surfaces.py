"""What someone may see of an error and of a log: each surface makes a string of it, in which a marker is looked for."""

from __future__ import annotations

import inspect
import io
import logging
import pickle
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

from cp_thirdparty.exceptions import ThirdPartyError


def with_locals(raised: BaseException) -> str:
    """Format a traceback as the standard library does when it shows locals."""
    return "".join(traceback.TracebackException.from_exception(raised, capture_locals=True).format())


def reachable_frames(raised: BaseException) -> list[FrameType]:
    """Return all frames of this error, of what it leads to, and of who called them, but for those that still run."""
    running = {id(frame) for frame, _ in traceback.walk_stack(None)}
    frames: dict[int, FrameType] = {}
    errors = [raised]
    while errors:
        one = errors.pop()
        errors += [other for other in (one.__cause__, one.__context__) if other is not None]
        for frame, _ in traceback.walk_tb(one.__traceback__):
            frames[id(frame)] = frame
            caller = frame.f_back
            while caller is not None and id(caller) not in running:
                frames[id(caller)] = caller
                caller = caller.f_back
    return list(frames.values())


def reachable(raised: BaseException) -> str:
    """Return all locals of all frames that this error leads to."""
    return "".join(repr(frame.f_locals) for frame in reachable_frames(raised))


# Those that cost next to nothing.
ERROR_SURFACES: dict[str, Callable[[BaseException], str]] = {
    "str": str,
    "repr": repr,
    "args": lambda raised: repr(raised.args),
    "vars": lambda raised: repr(vars(raised)),
    "notes": lambda raised: repr(getattr(raised, "__notes__", ())),
    "pickle": lambda raised: repr(pickle.dumps(raised)),
    "traceback": lambda raised: "".join(traceback.format_exception(raised)),
    "traceback with locals": with_locals,
    "reachable locals": reachable,
}


def logged(records: list[logging.LogRecord]) -> str:
    """Return all that a handler, a formatter or a tool that shows locals can find in records."""
    shown: list[str] = []
    for record in records:
        shown += [record.getMessage(), repr(record.__dict__), logging.Formatter("%(message)s").format(record)]
        failure = record.exc_info[1] if record.exc_info else None
        arguments = record.args if isinstance(record.args, tuple) else ()
        for each in (failure, *arguments):
            if isinstance(each, BaseException):
                shown += [with_locals(each), reachable(each), repr(vars(each))]
    return "".join(shown)


def _with_rich(raised: BaseException) -> str:
    from rich.console import Console  # noqa: PLC0415 - only a few tests need it
    from rich.traceback import Traceback  # noqa: PLC0415 - only a few tests need it

    file = io.StringIO()
    shown = Traceback.from_exception(
        type(raised), raised, raised.__traceback__, show_locals=True, locals_max_string=10_000, locals_max_length=1000
    )
    Console(file=file, width=300).print(shown)
    return file.getvalue()


def _with_sentry(raised: BaseException) -> str:
    import sentry_sdk  # noqa: PLC0415 - only a few tests need it
    from sentry_sdk.transport import Transport  # noqa: PLC0415 - only a few tests need it

    sent: list[str] = []

    class Kept(Transport):
        """A transport of Sentry that keeps what it would send."""

        def capture_envelope(self, envelope: Any) -> None:
            """Keep it."""
            sent.append(envelope.serialize().decode())

    with sentry_sdk.new_scope() as scope:
        scope.set_client(sentry_sdk.Client(dsn="http://key@127.0.0.1:9/1", transport=Kept({})))
        scope.capture_exception(raised)
        logging.getLogger("surface").error("job failed", exc_info=raised)
    assert sent
    return "".join(sent)


def _with_ipython(raised: BaseException) -> str:
    from IPython.core import ultratb  # noqa: PLC0415 - only a few tests need it

    # IPython 9 calls the colour scheme a theme.
    names = inspect.signature(ultratb.VerboseTB.__init__).parameters
    colours = {"theme_name": "nocolor"} if "theme_name" in names else {"color_scheme": "NoColor"}
    shower: Any = ultratb.VerboseTB(**colours)  # type: ignore[arg-type] # of either generation
    return str(shower.text(type(raised), raised, raised.__traceback__))


def _with_loguru(raised: BaseException) -> str:
    from loguru import logger  # noqa: PLC0415 - only a few tests need it

    file = io.StringIO()
    handler = logger.add(file, backtrace=True, diagnose=True, colorize=False)
    try:
        logger.opt(exception=raised).error("job failed")
    finally:
        logger.remove(handler)
    return file.getvalue()


def _with_structlog(raised: BaseException) -> str:
    from structlog.processors import ExceptionRenderer  # noqa: PLC0415 - only a few tests need it
    from structlog.tracebacks import ExceptionDictTransformer  # noqa: PLC0415 - only a few tests need it

    render = ExceptionRenderer(ExceptionDictTransformer(show_locals=True, locals_max_string=10_000))
    return repr(render(None, "error", {"exc_info": raised}))


# They take milliseconds for one error.
ERROR_TOOLS: dict[str, Callable[[BaseException], str]] = {
    "loguru": _with_loguru,
    "structlog": _with_structlog,
    "rich": _with_rich,
    "Sentry": _with_sentry,
    "IPython": _with_ipython,
}
ALL_ERROR_SURFACES = {**ERROR_SURFACES, **ERROR_TOOLS}


def catch(call: Callable[[], object]) -> BaseException | None:
    """Return the error of this library that a call raises."""
    try:
        call()
    except ThirdPartyError as raised:
        return raised
    return None
