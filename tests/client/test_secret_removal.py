"""A secret that a peer repeats is struck out however it is escaped, in linear time, and nothing else is."""

from __future__ import annotations

import html
import json
import re
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote, quote_plus, unquote, unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.slow_rows import slow_unless

from cp_thirdparty import SecretStr
from cp_thirdparty._core.secret_removal import TooManyEscapesError, _Readings, remove_secrets, remove_secrets_from_bytes

_MASK = "**********"


def _lower(text: str) -> str:
    """Escape for a URL, with lower-case digits."""
    return "".join(f"%{byte:02x}" if not chr(byte).isalnum() or byte > 127 else chr(byte) for byte in text.encode())


def _json(text: str) -> str:
    return json.dumps(text)[1:-1]


# Ways to escape a string.
_ESCAPES: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "URL": lambda text: quote(text, safe=""),
    "URL path": quote,
    "URL query": quote_plus,
    "lower-case URL": _lower,
    "JSON": _json,
    "JSON with Unicode": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON with slashes": lambda text: _json(text).replace("/", "\\/"),
    "JSON of all characters": lambda text: "".join(
        f"\\u{int.from_bytes(pair, 'big'):04X}"
        for units in [text.encode("utf-16-be", "surrogatepass")]
        for pair in (units[i : i + 2] for i in range(0, len(units), 2))
    ),
    "HTML": html.escape,
    "decimal entities": lambda text: "".join(f"&#{ord(character)};" for character in text),
    "hexadecimal entities": lambda text: "".join(f"&#X{ord(character):x};" for character in text),
    "named entities": lambda text: html.escape(text).replace("é", "&eacute;").replace("/", "&sol;"),
    "Python": lambda text: "".join(f"\\x{ord(c):02x}" if ord(c) < 32 else c for c in text).replace("'", "\\'"),
}
_SECRETS = ('xMARK/a+b="q"&é<', "50%25&amp;\\u0041", "a b\tc'd", "\U0001f600\n\\/x", "%%%%", "plain-token")


@pytest.mark.parametrize("first", _ESCAPES)
@pytest.mark.parametrize("secret", _SECRETS)
def test_a_secret_is_found_in_each_escape(secret: str, first: str) -> None:
    """Escaped once, twice, and in each mixture of two."""
    once = _ESCAPES[first](secret)
    texts = {second: f"code <{escape(once)}> end" for second, escape in _ESCAPES.items()}
    assert {second: remove_secrets(text, [SecretStr(secret)]) for second, text in texts.items()} == dict.fromkeys(
        _ESCAPES, f"code <{_MASK}> end"
    )


_secrets = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="*"), min_size=4, max_size=30)
# Their long errors take the most time, and are similar to those of "JSON" and "hexadecimal entities".
_SLOW_ESCAPES = {"JSON with Unicode", "JSON with slashes", "decimal entities"}
# Characters and parts of escapes that change what the bytes beside them mean.
_PARTS = (
    "%",
    "\\",
    "&",
    "#",
    ";",
    "&#",
    "&#x",
    "\\u00",
    "\\x",
    "%2",
    "2",
    "5",
    "41",
    "am",
    "amp;",
    "u0041",
    "n",
    '"',
    "é",
)
_confusing = st.lists(st.sampled_from([*_PARTS, "/", "'", "+", " ", "\U0001f600"]), min_size=1, max_size=10).map(
    "".join
)
_confusing_secrets = _confusing.filter(lambda text: len(text) >= 4)


@st.composite
def _escaped(draw: st.DrawFn, secret: str) -> str:
    """Escape a secret up to four times, each time some of its characters, each of them in any way."""
    text = secret
    for _ in range(draw(st.integers(0, 4))):
        names = draw(st.lists(st.sampled_from(sorted(_CHARACTERS)), min_size=1, max_size=3))
        choices = draw(st.randoms(use_true_random=False))
        if draw(st.booleans()):  # as a program does: all that must be, in one way
            text = _ESCAPES[draw(st.sampled_from(sorted(_ESCAPES)))](text)
        elif len(text) < 200:
            text = "".join(_CHARACTERS[choices.choice(names)](character) for character in text)
    return text


def _json_units(character: str, *, upper: bool) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    pairs = (int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2))
    return "".join(f"\\u{pair:04X}" if upper else f"\\u{pair:04x}" for pair in pairs)


# Ways to escape one character.
_CHARACTERS: dict[str, Callable[[str], str]] = {
    "plain": lambda c: c,
    "URL": lambda c: "".join(f"%{byte:02X}" for byte in c.encode()),
    "lower-case URL": lambda c: "".join(f"%{byte:02x}" for byte in c.encode()),
    "query": quote_plus,
    "JSON": _json,
    "JSON with a slash": lambda c: _json(c).replace("/", "\\/"),
    "JSON unit": lambda c: _json_units(c, upper=False),
    "JSON upper-case unit": lambda c: _json_units(c, upper=True),
    "HTML": html.escape,
    "entity": lambda c: f"&#{ord(c)};",
    "padded entity": lambda c: f"&#{ord(c):08d};",
    "hexadecimal entity": lambda c: f"&#X{ord(c):X};",
    "padded hexadecimal entity": lambda c: f"&#x{ord(c):06x};",
    "named entity": lambda c: {"/": "&sol;", "%": "&percnt;", "\\": "&bsol;", "&": "&amp;", ";": "&semi;"}.get(c, c),
}


def _unescape_json(text: str) -> str:
    pairs = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

    def meaning(match: re.Match[str]) -> str:
        return pairs[match[2]] if match[2] else chr(int(match[1], 16))

    text = re.sub(r'\\(?:u([0-9A-Fa-f]{4})|(["\\/bfnrt]))', meaning, text)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_DECODERS = (unquote, unquote_plus, html.unescape, _unescape_json)


def _decode(text: str) -> set[str]:
    """Return what a reader may make of a string by undoing up to four escapes."""
    texts = newest = {text}
    for _ in range(4):
        newest = {decode(each) for decode in _DECODERS for each in newest} - texts
        texts = texts | newest
    return texts


@given(
    data=st.data(),
    secret=_secrets | _confusing_secrets,
    before=_confusing | st.just("<"),
    after=_confusing | st.just(">"),
)
def test_nothing_is_left_of_a_secret(data: st.DataObject, secret: str, before: str, after: str) -> None:
    """However a secret is escaped, and whatever is beside it, no decoding of what is left has the secret."""
    written = data.draw(_escaped(secret))
    left = remove_secrets(f"{before}{written}{after}", [SecretStr(secret)])
    assert [text for text in _decode(left) if secret in text] == []
    assert (before, after) != ("<", ">") or left == f"<{_MASK}>"


@pytest.mark.parametrize(
    ("secret", "written"),
    [
        ('ab"cd', 'ab\\"cd'),
        ("ab/cd", "ab&#00047;cd"),
        ("ab/cd", f"ab&#x{'0' * 50}2f;cd"),
        ("ab/xy", "ab&#47xy"),
        ("ab<xy", "ab&ltxy"),
        ("ab/xy", "ab%2&#102;xy"),
        ("41/xy", "%41%2Fxy"),  # after a percent sign that is none of an escape
        ("ab\U0001f600cd", "ab\\\\ud83d\\\\ude00cd"),
        ("ab\xa0cd", r"ab\\u005C\\u0075\\u0030\\u0030\\u0061\\u0030cd"),
        ("ab\xe9cd", r"ab\xe9cd"),
        ("ab\xe9cd", r"ab\xc3\xa9cd"),
        ("ab\\cd", "ab&bsol;&bsol;cd"),
    ],
)
def test_unusual_escapes_are_found(secret: str, written: str) -> None:
    """An escape may have no semicolon, zeros at its start, or a part that is escaped in another way."""
    assert secret not in remove_secrets(f"<{written}>", [SecretStr(secret)])
    assert _MASK in remove_secrets(f"<{written}>", [SecretStr(secret)])


# Secret, and how it is written.
_REMOVED: list[tuple[str, str]] = [
    ("+abcd", "+abcd"),
    (" abcd", "+abcd"),
    ("+abcd", " abcd"),
    ("ab+cd", "ab cd"),
    ("'bcd", "\\'bcd"),
    ('"bcd', '%5C"bcd'),
    ("/bcd", "%5C/bcd"),
    ("abc\\", "abc%5C%5C"),
    ("a\bcd", "a\\bcd"),
    ("a\fcd", "a\\fcd"),
    ("a\ncd", "a\\ncd"),
    ("a\rcd", "a\\rcd"),
    ("a\tcd", "a\\tcd"),
    ("ab\x80cd", "ab\\x80cd"),
    ("ab\xffcd", "ab\\xffcd"),
    ("ab\uffffcd", "ab\\uFFFFcd"),
    ("ab\U00010000cd", "ab\\ud800\\udc00cd"),
    ("ab\U0010ffffcd", "ab\\udbff\\udfffcd"),
    ("ab\U0010ffffcd", "ab&#x10ffff;cd"),
    ("ab\U0010ffffcd", "ab&#1114111;cd"),
    ("ab\ud800cd", "ab\\ud800cd"),
    ("ab\ud800\ud800cd", "ab\\ud800\\ud800cd"),
    ("ab\udfffcd", "ab\\udfffcd"),
]


@pytest.mark.parametrize(("secret", "written"), _REMOVED)
def test_an_escape_is_removed_completely(secret: str, written: str) -> None:
    """Nothing of an escaped character is left beside the mask."""
    assert remove_secrets(f"<{written}>", [SecretStr(secret)]) == f"<{_MASK}>"


@pytest.mark.parametrize("number", ["&#0;", "&#x110000;", "&#1114112;", "&#9999999999999999999;"])
def test_a_number_of_no_character_is_not_an_escape(number: str) -> None:
    """It is kept, and a secret after it is removed."""
    assert remove_secrets(f"{number}abcd", [SecretStr("abcd")]) == f"{number}{_MASK}"
    assert remove_secrets(f"ab{number}cd", [SecretStr("abcd")]) == f"ab{number}cd"


@pytest.mark.parametrize(
    ("secret", "document"),
    [
        ("41BCD", r'{"m": "\u0041BCD"}'),
        ("ABCu", r'{"m": "ABC\u0041"}'),
        ("bcde", r'{"m": "\bcde"}'),
        ("9bcd", r'{"m": "\u00e9bcd"}'),
    ],
)
def test_no_escape_is_left_in_part(secret: str, document: str) -> None:
    """A part of a JSON escape would make the document invalid, so the complete escape is removed."""
    assert json.loads(remove_secrets(document, [SecretStr(secret)])) == {"m": _MASK}


def test_escapes_beside_a_secret_are_kept() -> None:
    """Only the escapes that a secret shares with the document are removed."""
    assert remove_secrets("\\n abcd \\n abcd \\n", [SecretStr("abcd")]) == f"\\n {_MASK} \\n {_MASK} \\n"


def test_a_lone_surrogate_is_kept() -> None:
    """A string that is not valid Unicode is returned without its secrets, as any other string is."""
    assert remove_secrets("\ud800 abcd \udfff", [SecretStr("abcd")]) == f"\ud800 {_MASK} \udfff"
    assert remove_secrets("\ud800", [SecretStr("abcd")]) == "\ud800"


@given(text=st.text(), secret=_secrets)
def test_other_text_is_kept(text: str, secret: str) -> None:
    """A string that has no part in common with the secret stays as it is."""
    if not set(secret) & set(text) and not set(text) & set("%&\\"):
        assert remove_secrets(text, [SecretStr(secret)]) == text


@given(parts=st.lists(st.sampled_from([*_SECRETS, "%", "\\", "&", "\\u00", "%2", "&#", "é"]), max_size=12))
def test_struck_out_bytes_are_still_utf_8(parts: list[str]) -> None:
    """After striking out, the rest is still UTF-8, and no secret is left."""
    secrets = [SecretStr(secret) for secret in _SECRETS]
    left = remove_secrets("".join(parts), secrets)
    assert not any(secret in left for secret in _SECRETS)
    assert remove_secrets_from_bytes(left.encode(), secrets).decode() == remove_secrets(left, secrets)


def test_a_secret_that_is_short_without_its_escapes_is_found_as_it_is() -> None:
    """The short form of a secret that looks escaped occurs by chance; the secret itself does not."""
    assert remove_secrets("AB or %41%42 or &nosuch; &#1", [SecretStr("%41%42")]) == f"AB or {_MASK} or &nosuch; &#1"


@pytest.mark.parametrize("secret", ["t", "ab", "abc"])
def test_a_short_value_is_not_looked_for(secret: str) -> None:
    """A value of less than four characters occurs by chance."""
    assert (
        remove_secrets("ThrottlingException: abc about it", [SecretStr(secret)]) == "ThrottlingException: abc about it"
    )


def test_the_result_of_json_is_still_json() -> None:
    """Striking a secret out of a JSON document leaves a document."""
    secret = '"quoted\\"'
    document = {"__type": "ValidationException", "message": f"{secret}{secret} {quote(secret)} {html.escape(secret)}"}
    left = remove_secrets_from_bytes(json.dumps(document).encode(), [SecretStr(secret)])
    assert json.loads(left) == {"__type": "ValidationException", "message": f"{_MASK} {_MASK} {_MASK}"}


def test_the_length_can_be_kept() -> None:
    """CBOR counts bytes, so as many stay."""
    assert remove_secrets_from_bytes(b"\x69say token", [SecretStr("token")], keep_length=True) == b"\x69say *****"


def test_several_secrets_may_overlap() -> None:
    """Secrets that overlap leave one mask for the part that they share."""
    assert remove_secrets("<abcdef>", [SecretStr("abcd"), SecretStr("cdef")]) == f"<{_MASK}>"


# Data whose unescaping is as much work as can be.
_HARD: dict[str, Callable[[int], bytes]] = {
    "nested percents": lambda size: b"%" + b"25" * (size // 2),
    "percents": lambda size: b"%41" * (size // 3),
    "backslashes": lambda size: b"\\" * size,
    "backslashes before a nested escape": lambda size: b"\\" * (size // 2) + b"\\u0075005c" + b"u005c" * (size // 10),
    "nested entities": lambda size: b"&amp" + b";amp" * (size // 4),
    "zeros": lambda size: b"&#&#48;" + b"0&#48;" * (size // 6),
    "ampersands": lambda size: b"&" * size,
    "unfinished entities": lambda size: b"&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" * (size // 32),
    "entities": lambda size: b"&amp;" * (size // 5),
    "escaped backslashes, URL": lambda size: b"%5c" * (size // 3),
    "escaped backslashes, JSON": lambda size: rb"\u005c" * (size // 6),
    "escaped backslashes, hexadecimal": lambda size: rb"\x5c" * (size // 4),
    "escaped backslashes, HTML": lambda size: b"&#92;" * (size // 5),
    "escaped backslashes in JSON": lambda size: json.dumps("\\x5c\\" * (size // 7)).encode(),
    "almost the secret": lambda size: b"aaab" * (size // 4),
    "the secret": lambda size: b"aaaa" * (size // 4),
}


@pytest.mark.parametrize("kind", slow_unless(lambda kind: "escape" not in kind, _HARD))
def test_it_takes_linear_memory(kind: str) -> None:
    """Four times the data take less than eight times the memory, which grows with the number of readings."""

    def peak(size: int) -> int:
        data = _HARD[kind](size)
        tracemalloc.start()
        try:
            with suppress(TooManyEscapesError):
                remove_secrets_from_bytes(data, [SecretStr("aaaa" * 16)])
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(400)  # fills the cache of the named entities
    assert peak(1_600) < 8 * peak(400)


@pytest.mark.slow
@pytest.mark.parametrize("kind", _HARD)
def test_it_takes_linear_time(kind: str) -> None:
    """Sixteen times the data take far less than 256 times as long."""

    def seconds(size: int) -> float:
        data, times = _HARD[kind](size), []
        for _ in range(3):
            begin = time.thread_time()  # other work on the machine does not count
            with suppress(TooManyEscapesError):
                remove_secrets_from_bytes(data, [SecretStr("aaaa" * 16)])
            times.append(time.thread_time() - begin)
        return min(times)

    assert seconds(8_000) < 64 * max(seconds(500), 0.0001)


@pytest.mark.parametrize("kind", _HARD)
def test_its_work_is_bounded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not more readings are looked at than 100,000 and four for each byte; the last list of them has at most 100."""
    looked_at = 0
    collect = _Readings._byte_and_escapes

    def count(readings: _Readings, position: int) -> list[tuple[int, bytes]]:
        nonlocal looked_at
        found = collect(readings, position)
        looked_at += len(found)
        return found

    monkeypatch.setattr(_Readings, "_byte_and_escapes", count)
    data = _HARD[kind](16_000)
    with suppress(TooManyEscapesError):
        _Readings(data)
    assert looked_at <= 100_000 + 4 * len(data) + 100


def test_data_with_too_many_escapes_is_refused() -> None:
    """Nothing of it is shown: a secret in it may have been missed."""
    text = "code " + "\\x5c\\" * 3_000 + " token"
    with pytest.raises(TooManyEscapesError) as caught:
        remove_secrets_from_bytes(text.encode(), [SecretStr("secret")])
    assert caught.value.args == ()
    assert remove_secrets(text, [SecretStr("secret")]) == _MASK


@pytest.mark.parametrize("name", slow_unless(lambda name: name not in _SLOW_ESCAPES, _ESCAPES))
def test_an_error_that_was_escaped_four_times_is_not_refused(name: str) -> None:
    """64 KiB of it, the longest error that is read, have a secret that is found."""
    text = f'<The value "/{_SECRETS[0]}" is not valid\n>'
    for _ in range(4):
        escaped = _ESCAPES[name](text)
        if len(escaped) > 16_384:
            break
        text = escaped
    text *= 65_536 // len(text.encode())
    assert _MASK in remove_secrets(text, [SecretStr(_SECRETS[0])]) != _MASK
