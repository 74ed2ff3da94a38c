"""The failure of the cluster itself."""


class ClusterFailed(Exception):
    """A part of the cluster cannot be made, or a command in it failed; says which, and its last words."""
