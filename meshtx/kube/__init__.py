"""Kubernetes: its API, who is meshed by its objects, injection, manifests. Knows nothing of how a proxy works."""
