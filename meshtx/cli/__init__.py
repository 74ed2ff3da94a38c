"""The `meshtx` command: thin commands over the rooms."""
