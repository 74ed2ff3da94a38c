"""Sockets, TLS, relay, dial and legs: how bytes move, never what they mean."""
