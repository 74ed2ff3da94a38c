"""The API server itself: that it answers, its version, its clock."""

from __future__ import annotations

from meshtx.kube.api_errors import ApiAnswered, ApiError
from meshtx.kube.checks.outcomes import Check, Failed, Group, NotKnown, Outcome, Passed, Warned
from meshtx.kube.checks.snapshot import Snapshot
from meshtx.kube.injected_values import NATIVE_SINCE
from meshtx.pki.issuer import BACKDATE

SKEW = 60.0
"""Seconds between two clocks that are worth a word."""


def _reached(snapshot: Snapshot) -> Outcome:
    server = snapshot.server
    return Passed(f"{server.url}, as {server.user}" if server.user else server.url)


def unreached(error: ApiError) -> Failed:
    """Return what the first check says where the API does not answer."""
    if isinstance(error, ApiAnswered):
        hint = "use another --context or --kubeconfig; 'kubectl auth whoami' must work with it"
        return Failed(str(error), hint)
    return Failed(str(error), "'kubectl version' must work with this --kubeconfig and --context", may_pass=True)


def _version(snapshot: Snapshot) -> Outcome:
    server = snapshot.server
    if server.version >= NATIVE_SINCE:
        return Passed(server.release)
    wanted = ".".join(map(str, NATIVE_SINCE))
    return Failed(f"it is {server.release}", f"upgrade the cluster to {wanted} or newer, which knows native sidecars")


def _clock(snapshot: Snapshot) -> Outcome:
    ahead = snapshot.server.ahead
    if ahead is None:
        raise NotKnown("the API server does not tell its time")
    if abs(ahead) <= SKEW:
        return Passed()
    problem = f"the API server's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
    hint = "let NTP set both: certificates and tokens are judged by clocks"
    if abs(ahead) <= BACKDATE.total_seconds():
        return Warned(problem, hint)
    return Failed(problem, hint)


REACHED = Check("api-reached", "the API server answers", _reached, fatal=True)

CLUSTER = Group(
    "cluster",
    (
        REACHED,
        Check("api-version", "its version is new enough", _version),
        Check("clock", "its clock agrees with this machine's", _clock),
    ),
)
