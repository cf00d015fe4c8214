"""Names of nodes as the ROS graph gives them, which is not at once and not always."""

# What rmw says where it knows a publisher and not its node: one that is just being found, or of another user, whose
# words do not get through.
_UNKNOWN = "_NODE_NAME_UNKNOWN_"
NAMELESS = "a node whose name is not known (it has just started, or runs as another user)"


def full_name(name: str, namespace: str) -> str:
    """The node's name with its namespace, or words in its place."""
    return NAMELESS if name == _UNKNOWN else f"{namespace.rstrip('/')}/{name}"
