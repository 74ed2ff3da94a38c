"""Names, keys, requests, the authority, trust and credentials: values, with `now` as an argument."""
