"""``python -m meshtx``: the command ``meshtx``."""

from meshtx.cli.main import main

if __name__ == "__main__":
    main()
