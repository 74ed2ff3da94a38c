"""The methods that meshtx speaks, as `meshtx.rpc.messages` defines their services."""

from __future__ import annotations

from meshtx.rpc.messages.directory_pb2 import (
    Answer,
    FindRequest,
    FollowRequest,
    ForgetRequest,
    Forgotten,
    Update,
)
from meshtx.rpc.messages.health_pb2 import HealthCheckRequest, HealthCheckResponse
from meshtx.rpc.messages.identity_pb2 import CertifyRequest, CertifyResponse
from meshtx.rpc.messages.tap_pb2 import ObserveRequest, TapEvent
from meshtx.rpc.method import Method

CERTIFY = Method("/io.linkerd.proxy.identity.Identity/Certify", CertifyRequest, CertifyResponse)
HEALTH_CHECK = Method("/grpc.health.v1.Health/Check", HealthCheckRequest, HealthCheckResponse)
HEALTH_WATCH = Method("/grpc.health.v1.Health/Watch", HealthCheckRequest, HealthCheckResponse, streams=True)
TAP_OBSERVE = Method("/meshtx.tap.v1.Tap/Observe", ObserveRequest, TapEvent, streams=True)
DIRECTORY_FOLLOW = Method("/meshtx.directory.v1.Directory/Follow", FollowRequest, Update, streams=True)
DIRECTORY_FIND = Method("/meshtx.directory.v1.Directory/Find", FindRequest, Answer)
DIRECTORY_FORGET = Method("/meshtx.directory.v1.Directory/Forget", ForgetRequest, Forgotten)
