"""The hellos of real TLS handshakes, as they cross a wire."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.serialization import Encoding

from meshtx.pki.authority import Authority
from meshtx.pki.csr import make_csr, parse_csr
from meshtx.pki.issuer import make_issuer, make_root
from meshtx.pki.keys import key_to_pem, new_key
from meshtx.pki.name import MeshScope, Name


@cache
def hellos(server_name: str, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> tuple[bytes, bytes]:
    """Return what a client sends first and what the server answers."""
    client_in, client_out, server_in, server_out = (ssl.MemoryBIO() for _ in range(4))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode, context.maximum_version = False, ssl.CERT_NONE, version
    client = context.wrap_bio(client_in, client_out, server_hostname=server_name)
    server = server_context().wrap_bio(server_in, server_out, server_side=True)
    _step(client)
    sent = client_out.read()
    server_in.write(sent)
    _step(server)
    return sent, server_out.read()


def _step(side: ssl.SSLObject) -> None:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return


def server_context() -> ssl.SSLContext:
    """Return a server with a certificate."""
    scope, now, key = MeshScope(), datetime.now(UTC), new_key()
    name: Name = scope.name("emojivoto", "web")
    root_key, root = make_root(scope, now)
    chain = Authority(make_issuer(root_key, root, scope, now)).issue(parse_csr(make_csr(key, name)), name, now)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        file = Path(folder, "pem")
        file.write_bytes(chain.leaf.public_bytes(Encoding.PEM) + key_to_pem(key))
        context.load_cert_chain(file)
    return context
