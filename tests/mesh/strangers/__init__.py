"""What a stranger can do to a program: hostile input by kind, at each of its ports, while /live is watched.

    python -m tests.mesh.strangers [KIND ...] [--port PORT] [--scale X]

`kinds` is the table of inputs, `targets` the table of programs and their ports, `watching` measures how long a
program's loop was held and by how much its memory grew, `send` is the process that is the stranger.
"""
