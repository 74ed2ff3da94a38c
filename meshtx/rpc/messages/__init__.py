"""Generated protobuf messages of every RPC that meshtx speaks, beside the `.proto` files that they come from."""
