"""Linkerd's annotations as ours, in an installation that adopts them (``meshtx install --adopt-linkerd-annotations``).

    linkerd.io/inject: enabled|disabled    of a pod                   ─▶ the label meshtx.io/inject
    config.linkerd.io/opaque-ports         of a pod or a namespace    ─▶ config.meshtx.io/opaque-ports

and the other two lists of ports likewise. The injector translates before it reads, and a pod that is made has both
spellings: so nothing else knows Linkerd's, and without adoption none of them means anything. What is said in our own
words wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from meshtx.kube.annotations import DISABLED, ENABLED, INJECT, PORT_LISTS
from meshtx.kube.json_patch import Json
from meshtx.kube.pod_settings import PREFIX

LINKERD_INJECT = "linkerd.io/inject"
LINKERD_PREFIX = "config.linkerd.io/"


def adopted(thing: Json) -> Json:
    """Return a pod, or the template of pods, in our words. What is given stays as it is."""
    metadata = dict(thing.get("metadata") or {})
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    word = annotations.get(LINKERD_INJECT)
    if word in {ENABLED, DISABLED} and INJECT not in labels:
        metadata["labels"] = {**labels, INJECT: word}
    if annotations:
        metadata["annotations"] = adopted_settings(annotations)
    return {**thing, "metadata": metadata}


def adopted_settings(annotations: Mapping[str, str]) -> dict[str, str]:
    """Return the annotations of a pod or a namespace with ours among them."""
    ours = {PREFIX + name: annotations[LINKERD_PREFIX + name] for name in _lists(annotations)}
    return {**ours, **annotations}


def unadopted(annotations: Mapping[str, str]) -> Iterator[str]:
    """Give a warning for each list of ports in Linkerd's words alone: of a pod of ours its author may count on it."""
    for name in _lists(annotations):
        if PREFIX + name not in annotations:
            yield f"{LINKERD_PREFIX}{name}: Linkerd's, and without effect here; write {PREFIX}{name}"


def _lists(annotations: Mapping[str, str]) -> Iterator[str]:
    return (name for name in PORT_LISTS if LINKERD_PREFIX + name in annotations)
