"""A detector of Redis connections for meshtx."""
