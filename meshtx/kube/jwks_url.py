"""A key set that is published at an https URL, for `meshtx.identity.jwks_keys`.

The server must prove its name by the authorities that are given; a redirect is not followed: it would move the trust in
the keys to another server.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from meshtx import __version__
from meshtx.errors import PeerError
from meshtx.kube.api_errors import is_cancelled, said_by_http
from meshtx.kube.http_body import Body, Whole
from meshtx.net.https import Borrowed, HttpsEndpoints, ServerTls
from meshtx.pki.bundle import TrustBundle

MAX_LENGTH = 1024 * 1024
"""Bytes of a set; a hundred keys have 40,000."""

_ACCEPT = "application/jwk-set+json, application/json"
"""The first is the standard's (RFC 7517, section 8.5), and all that an API server of Kubernetes has."""

_OK = 200


class JwksUrl:
    """Fetches one URL, on a connection of its own each time.

    :param reactor: Any: a reactor has no one type.
    :param url: an https one; its host is what the server must prove.
    :param trust: the authorities that may vouch for it.
    """

    def __init__(self, reactor: Any, url: str, trust: TrustBundle) -> None:
        self._reactor = reactor
        self._url = url
        parts = urlsplit(url)
        host = parts.hostname or ""
        self._tls = ServerTls(host, trust)
        self._endpoints = HttpsEndpoints(reactor, host, parts.port or 443, self._tls)

    async def fetch(self) -> bytes:
        """Return what is there now.

        :raises PeerError: it cannot be had.
        """
        connection = Borrowed(HTTPConnectionPool(self._reactor, persistent=False))
        http = HTTPClient(Agent.usingEndpointFactory(self._reactor, self._endpoints, connection))
        response = await self._answered(
            http.get(
                self._url,
                headers=Headers({"Accept": [_ACCEPT], "User-Agent": [f"meshtx/{__version__}"]}),
                allow_redirects=False,
                unbuffered=True,
                reactor=self._reactor,
            )
        )
        text = await self._whole(connection, response)
        if response.code != _OK:
            raise PeerError(f"{self._url} answers with status {response.code}")
        return text

    async def _whole(self, connection: Borrowed, response: IResponse) -> bytes:
        whole = Whole(MAX_LENGTH)
        body = Body(whole.receive, self._reactor, connection.abort)
        response.deliverBody(body)
        await self._answered(body.done)
        return whole.take()

    async def _answered(self, waited: Deferred[Any]) -> Any:
        """Wait for a part of an answer; whatever the libraries raise is translated once."""
        try:
            return await waited
        except CancelledError:
            raise
        except Exception as error:
            if is_cancelled(error):
                raise CancelledError from error
            raise PeerError(f"{self._url}: {said_by_http(error, self._tls.refused)}") from error
