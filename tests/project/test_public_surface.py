"""The public surface is the one of ``public_surface.txt``, which is changed on purpose."""

from __future__ import annotations

from support.public_surface import FILE, list_missing, list_surface


def test_the_public_surface_changes_on_purpose() -> None:
    """Each public name has the stored kind and signature; CONTRIBUTING has the command that writes the file again."""
    missing = list_missing()
    expected = []
    for line in FILE.read_text(encoding="utf-8").splitlines():
        module, name, *_ = line.split(" ")
        if not missing & {module, f"{module}.{name.partition('.')[0]}"}:
            expected.append(line)
    assert list(list_surface()) == expected
