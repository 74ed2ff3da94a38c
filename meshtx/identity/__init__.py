"""The certificate authority's service, its token validators, and the proxy's keeper."""
