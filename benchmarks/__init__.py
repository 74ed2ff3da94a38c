"""What meshtx costs beside other sidecars: `make bench`. README.md beside this file says how to read it."""
