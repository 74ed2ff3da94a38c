"""What trust rests on: the issuer's Secret, the anchors' ConfigMap."""

from __future__ import annotations

from base64 import b64encode

from meshtx.kube.manifests.shapes import ISSUER_SECRET, TRUST_CONFIG_MAP, TRUST_KEY, Document, document, labels
from meshtx.kube.manifests.values import Program, Values


def trust(values: Values) -> list[Document]:
    """Return them, where there is something to put in."""
    given = values.trust
    if given is None:
        return []
    files = {"ca.crt": given.anchors, "tls.crt": given.issuer, "tls.key": given.issuer_key}
    return [
        document(
            "v1",
            "Secret",
            ISSUER_SECRET,
            values.namespace,
            labels(Program.IDENTITY),
            type="kubernetes.io/tls",
            # `stringData` would be another object than the server gives back, and a change each time
            data={name: b64encode(text.encode()).decode() for name, text in files.items()},
        ),
        document("v1", "ConfigMap", TRUST_CONFIG_MAP, values.namespace, data={TRUST_KEY: given.anchors}),
    ]
