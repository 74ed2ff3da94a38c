"""The emoji service: gRPC ``emojivoto.v1.EmojiService``, which knows the emoji."""

import emojivoto_pb2 as pb
from grpc_service import serve

EMOJI = {
    ":doughnut:": "🍩",
    ":joy:": "😂",
    ":rocket:": "🚀",
    ":tada:": "🎉",
    ":taco:": "🌮",
    ":octopus:": "🐙",
    ":ghost:": "👻",
    ":cat2:": "🐈",
}


def list_all(_request: pb.ListAllRequest) -> pb.ListAllResponse:
    """Return every emoji."""
    return pb.ListAllResponse(list=[pb.Emoji(unicode=sign, shortcode=code) for code, sign in EMOJI.items()])


if __name__ == "__main__":
    serve("emojivoto.v1.EmojiService", {"ListAll": (list_all, pb.ListAllRequest)}, __doc__)
