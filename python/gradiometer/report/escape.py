"""Foreign text (names of columns, layers, files) made safe for a terminal and for markup."""

from __future__ import annotations

import html
import unicodedata

__all__ = ["escape", "printable"]

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_JOINERS = {"\u200c", "\u200d"}


def printable(text: str, *, newlines: bool = False) -> str:
    """`text` with every character that could steer a terminal or break XML replaced by U+FFFD.

    Control and format characters (escape sequences, right-to-left overrides) and lone surrogates go; tabs
    become spaces, and so do newlines unless `newlines` is set.

    >>> printable("a\\x1b[31mb")
    'a\\ufffd[31mb'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(char, newlines) for char in text)


def _visible(char: str, newlines: bool) -> str:
    if char == "\n":
        return "\n" if newlines else " "
    if char in "\t\r":
        return " "
    if char in _JOINERS or unicodedata.category(char) not in _HIDDEN:
        return char
    return "\ufffd"


def escape(text: str, *, newlines: bool = False) -> str:
    """`text` for HTML or SVG, as content or as a quoted attribute.

    >>> escape('<b a="1">')
    '&lt;b a=&quot;1&quot;&gt;'
    """
    return html.escape(printable(text, newlines=newlines), quote=True)
