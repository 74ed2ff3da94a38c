"""A whole mesh on this machine: hosts, example services, sidecars, a raw capture and a verdict."""
