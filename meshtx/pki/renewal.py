"""When to renew a certificate, and when to try again: pure arithmetic on seconds.

Jitter is a number in [0, 1) that the caller draws: without it, all workloads that got their
certificates together, or lost the identity service together, come back together.
"""

from __future__ import annotations

FIRST_RETRY = 0.5
LAST_RETRY = 60.0
_EARLIEST, _SPREAD = 9 / 15, 2 / 15


def renew_at(not_before: float, not_after: float, jitter: float) -> float:
    """Return when to renew: after 9 to 11 fifteenths of the life, 2/3 on average.

    :param not_before: when the life begins, seconds; what lies before the certificate was received does not count.
    :param not_after: when it ends, in the same seconds.
    """
    return not_before + max(not_after - not_before, 0.0) * (_EARLIEST + _SPREAD * jitter)


def backoff(attempt: int, jitter: float) -> float:
    """Return the seconds to wait before the next try: doubled each time up to a minute, the later half at random.

    :param attempt: 0 after the first failure.
    """
    ceiling = min(FIRST_RETRY * 2 ** min(attempt, 16), LAST_RETRY)
    return ceiling * (1 + jitter) / 2


def retry_at(now: float, not_after: float | None, attempt: int, jitter: float) -> float:
    """Return when to try again after a failure.

    While a certificate is still valid, at most half of what is left of it passes, so that the tries come closer
    together as its end comes nearer.

    :param not_after: when the present certificate ends, ``None`` without one.
    """
    wait = backoff(attempt, jitter)
    if not_after is not None and not_after > now:
        wait = min(wait, max((not_after - now) / 2, backoff(0, jitter)))
    return now + wait
