"""Inbound and outbound: accept, find out, permit, connect, relay."""
