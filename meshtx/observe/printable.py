"""What a stranger sent, made safe to print.

Paths, authorities and names in foreign certificates come from the network. On a terminal their
control characters could move the cursor or rewrite a line, and a blank could forge a field of a
line of ``key=value`` fields.
"""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return the text with all that is not visible as escapes: ``\n`` becomes ``\x0a``.

    Keeps blanks; a backslash is doubled, so that nothing can pretend to be an escape.
    """
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_escape, text))


def field(text: str) -> str:
    """Return the text as the value of one ``key=value`` field: blanks are escaped as well."""
    return printable(text).replace(" ", r"\x20")


def quoted(text: str) -> str:
    """Return the text between quotation marks, for a value whose blanks are to stay readable."""
    return '"' + printable(text).replace('"', r"\"") + '"'


def _escape(char: str) -> str:
    if char == "\\":
        return "\\\\"
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
