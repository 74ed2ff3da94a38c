"""Flows, requests, metrics, tap and the admin site: what every connection looked like."""
