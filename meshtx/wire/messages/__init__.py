"""Messages of the wire, generated from the ``.proto`` files beside them by ``tools/generate_messages.sh``."""
