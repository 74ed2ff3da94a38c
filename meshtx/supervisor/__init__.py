"""A proxy and the command that uses it, as two child processes of one supervisor."""
