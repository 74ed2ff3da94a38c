#!/bin/sh
# Generate the protobuf modules (x_pb2.py, x_pb2.pyi) beside each .proto file of the package.
#
#     tools/generate_messages.sh [PYTHON]
#
# PYTHON needs grpcio-tools (default: python3). Import paths are those of the package:
# meshtx/wire/messages/x.proto is imported as meshtx.wire.messages.x_pb2, and one .proto
# imports another by the same path. Generated files are committed: users need no compiler.
set -eu
cd "$(dirname "$0")/.."
python=${1:-python3}
for folder in meshtx/wire/messages meshtx/rpc/messages; do
    [ -d "$folder" ] || continue
    find "$folder" -name '*.proto' | sort | while read -r proto; do
        "$python" -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. "$proto"
        # protoc leaves the mapping's types open; mypy --strict wants them.
        stub="${proto%.proto}_pb2.pyi"
        sed 's/, _Mapping\]/, _Mapping[str, object]]/g' "$stub" > "$stub.new"
        mv "$stub.new" "$stub"
        echo "$proto"
    done
done
