"""Programs that make load, beside wrk and h2load. Each is small, uses the standard library alone, and writes JSON."""
