"""What trust rests on: the issuer's Secret, the anchors' ConfigMap, empty Secrets for serving certificates."""

from __future__ import annotations

from base64 import b64encode

from meshtx.kube.manifests.shapes import (
    INJECTOR_SECRET,
    ISSUER_SECRET,
    TRUST_CONFIG_MAP,
    TRUST_KEY,
    Document,
    document,
    labels,
)
from meshtx.kube.manifests.values import Program, Trust, Values
from meshtx.kube.tap_names import SECRET as DIRECTORY_SECRET


def trust(values: Values) -> list[Document]:
    """Return them; the first two only where there is something to put in."""
    return [*(_given(values, values.trust) if values.trust else []), *_empty(values)]


def _given(values: Values, given: Trust) -> list[Document]:
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


def _empty(values: Values) -> list[Document]:
    """Return the Secrets that programs fill: no key in them, so that applying again takes none away."""
    return [
        document("v1", "Secret", name, values.namespace, labels(program), type="Opaque")
        for program, name in ((Program.DIRECTORY, DIRECTORY_SECRET), (Program.INJECTOR, INJECTOR_SECRET))
    ]
