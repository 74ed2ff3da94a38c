"""Who is meshed, at which address, with which identity."""
