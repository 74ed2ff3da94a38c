"""The commands of twistd. Every twistd command loads this file, so it imports nothing of meshtx."""

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

meshproxy = ServiceMaker(
    "meshtx sidecar",
    "meshtx.services.proxy",
    "Mutual TLS for one workload: takes its connections in and out.",
    "meshproxy",
)

meshidentity = ServiceMaker(
    "meshtx identity",
    "meshtx.services.identity",
    "The certificate authority of a mesh: issues certificates to those who prove who they are.",
    "meshidentity",
)

meshdirectory = ServiceMaker(
    "meshtx directory",
    "meshtx.services.directory",
    "The directory of a Kubernetes cluster: tells sidecars who is behind an address.",
    "meshdirectory",
)

meshinjector = ServiceMaker(
    "meshtx injector",
    "meshtx.services.injector",
    "The webhook of a Kubernetes cluster that gives pods their sidecar.",
    "meshinjector",
)

reactor = Reactor("meshtx", "meshtx.net.reactor", "The reactor that serves the connections of meshproxy fastest.")
