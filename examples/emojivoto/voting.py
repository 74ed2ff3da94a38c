"""The voting service: gRPC ``emojivoto.v1.VotingService``, which counts the votes."""

import threading
from collections import Counter

import emojivoto_pb2 as pb
from grpc_service import serve

_votes: Counter[str] = Counter()
_lock = threading.Lock()


def vote(request: pb.VoteRequest) -> pb.VoteResponse:
    """Count one vote and return how many that emoji has."""
    with _lock:
        _votes[request.shortcode] += 1
        return pb.VoteResponse(votes=_votes[request.shortcode])


def results(_request: pb.ResultsRequest) -> pb.ResultsResponse:
    """Return the votes of each emoji, most first."""
    with _lock:
        return pb.ResultsResponse(
            results=[pb.VotingResult(shortcode=code, votes=n) for code, n in _votes.most_common()]
        )


if __name__ == "__main__":
    methods = {"Vote": (vote, pb.VoteRequest), "Results": (results, pb.ResultsRequest)}
    serve("emojivoto.v1.VotingService", methods, __doc__)
