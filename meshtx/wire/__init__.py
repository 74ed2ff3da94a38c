"""Bytes in, events out: parsers that know no I/O, no clock and no Twisted."""
