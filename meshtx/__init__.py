"""Automatic mutual TLS for every TCP connection between services."""

__version__ = "0.1.0"
