"""The pairs of proxies that are compared; `roster` has all of them."""
