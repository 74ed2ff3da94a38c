"""What the example's programs have in common on the command line: places, and one line for what is wrong."""

import argparse
import sys
from collections.abc import Callable


def place(text: str) -> str:
    """Return ``ADDRESS:PORT`` as it was written, for argparse."""
    address, _, port = text.rpartition(":")
    if not address or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS:PORT")
    return text


def run(main: Callable[[], None]) -> None:
    """Run a program; what it cannot do on this machine ends it with one line."""
    try:
        main()
    except (OSError, RuntimeError) as error:  # grpcio's, of a port that is taken, is the latter
        sys.exit(f"{sys.argv[0]}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
