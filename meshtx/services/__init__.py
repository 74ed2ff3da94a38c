"""One module a twistd program: its options and its wiring."""
