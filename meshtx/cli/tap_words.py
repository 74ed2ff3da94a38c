"""What the words of ``meshtx tap`` name: something in a cluster, or the addresses of proxies.

    deploy                     every Deployment of the namespace
    deploy/web, deploy web     one
    web.emojivoto@10.1.0.2     a proxy; also HOST, HOST:PORT

A word with a slash, and a kind's name or short name, is of a cluster. So a host with the name of a kind needs its port
or the proxy's name: ``job:4190``.
"""

from __future__ import annotations

import click

from meshtx.kube.tap_target import resource_of


def cluster_target(words: tuple[str, ...]) -> str | None:
    """Return the target in a cluster, as ``KIND`` or ``KIND/NAME``; ``None``: all words are addresses of proxies.

    :raises click.UsageError: several targets in a cluster, or targets of both sorts.
    """
    in_cluster = ["/" in word or resource_of(word) is not None for word in words]
    if not any(in_cluster):
        return None
    kind_first = resource_of(words[0]) is not None
    match words:
        case [word]:
            return word
        case [kind, name] if kind_first and "/" not in name:
            return f"{kind}/{name}"
    if kind_first or all(in_cluster):
        raise click.UsageError("one thing of a cluster at a time: KIND, KIND/NAME, or ns/NAMESPACE for all in it")
    raise click.UsageError("name things of a cluster, or places of proxies; not both at once")
