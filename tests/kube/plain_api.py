"""The Kubernetes API as tests prepare and look at it: plain HTTPS, JSON in and out, nothing clever.

Blocks. It shares no code with ``meshtx.kube``, so that a test does not ask a mechanism about itself.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.kube.credentials import Pair

KINDS = {
    "json": "application/json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json-patch": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
"""What a body may be: the content type by its short name."""

Document = dict[str, Any]
"""An object of the API, as JSON has it."""


class Refused(AssertionError):
    """The API server said no; ``status`` is the HTTP status, the text its message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


@dataclass(frozen=True)
class PlainApi:
    """Calls one API server, as the owner of a client certificate or of a token.

    :param url: of the server, without a path.
    :param ca: file of the authority that its certificate comes from.
    :param client: the certificate to show, unless calls bring a token.
    """

    url: str
    ca: Path
    client: Pair | None = None

    def call(self, method: str, path: str, body: object = None, **options: Any) -> Document:
        """Return the answer's object.

        :param options: as for :meth:`ask`.
        :raises Refused: the answer is an error.
        """
        status, answer = self.ask(method, path, body, **options)
        if status >= 400:
            raise Refused(status, f"{method} {path}: {answer.get('message', answer)}")
        return answer

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        kind: str = "json",
        query: Mapping[str, str] = {},
        token: str | None = None,
        timeout: float = 20.0,
    ) -> tuple[int, Document]:
        """Return the HTTP status and the object of the answer.

        :param kind: of the body, a key of ``KINDS``.
        :param token: a bearer token, with which no client certificate is shown.
        :param timeout: seconds.
        :raises OSError: nobody answers.
        """
        context = self._as_client if token is None else self._as_nobody
        address = urlsplit(self.url)
        assert address.hostname
        connection = http.client.HTTPSConnection(address.hostname, address.port, timeout=timeout, context=context)
        headers = {"Content-Type": KINDS[kind], "Accept": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            target = f"{path}?{urlencode(query)}" if query else path
            connection.request(method, target, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()
        return answer.status, _document(text)

    @cached_property
    def _as_nobody(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))

    @cached_property
    def _as_client(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca))
        if self.client:
            context.load_cert_chain(self.client.certificate, self.client.key)
        return context


def _document(text: bytes) -> Document:
    """Return an answer's object; some paths, such as /readyz, answer in words."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"message": text.decode(errors="replace")}
