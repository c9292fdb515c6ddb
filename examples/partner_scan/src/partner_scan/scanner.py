"""The partner's own work: it looks for secrets.  It knows nothing of CodePipeline."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import attrs

_RULES: Final[tuple[tuple[str, Literal["low", "high"], re.Pattern[str]], ...]] = (
    ("an AWS access key", "high", re.compile(r"\bA(?:KIA|SIA)[A-Z0-9]{16}\b")),
    ("a private key", "high", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
    (
        "a password in the code",
        "low",
        re.compile(r"password\s*=\s*[\"'][^\"']+[\"']", re.IGNORECASE),
    ),
)


@attrs.frozen
class Finding:
    """Something that should not be there: where, what, and how bad."""

    path: str
    line: int
    rule: str
    severity: Literal["low", "high"]


def scan(source: Path) -> Iterator[Finding]:
    """Look at each file of a directory, in the order of their names."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            for number, line in enumerate(text.splitlines(), 1):
                for rule, severity, pattern in _RULES:
                    if pattern.search(line):
                        yield Finding(
                            path.relative_to(source).as_posix(), number, rule, severity
                        )
