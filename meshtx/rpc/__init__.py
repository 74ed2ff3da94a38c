"""gRPC on the h2 library: unary and streaming, client and server, over any transport of `net`."""
