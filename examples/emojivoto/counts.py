"""What a service served, by its own account: a JSON file that the demo's verdict reads."""

import json
import threading
from collections import Counter
from pathlib import Path


class Counts:
    """Counts by name; the file is whole at every moment.

    :param path: where to, or ``None`` for nowhere.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Write the file for the first time: whoever waits for it knows that the service listens."""
        with self._lock:
            self._write()

    def add(self, what: str) -> None:
        """Count one more, and write the file anew."""
        with self._lock:
            self._counts[what] += 1
            self._write()

    def _write(self) -> None:
        if self._path is not None:
            new = self._path.with_suffix(".new")
            new.write_text(json.dumps(self._counts))
            new.replace(self._path)
