"""What a running node publishes, hears, offers and calls, as the ROS graph shows it."""

from rclpy.action.graph import get_action_client_names_and_types_by_node, get_action_server_names_and_types_by_node

from am_ros.cell.security_policy import Interfaces

# Names that nodes give as they stand, whatever their namespace.
ABSOLUTE = ("/rosout", "/parameter_events", "/diagnostics", "/clock", "/tf", "/tf_static")


def survey(observer, name: str, namespace: str = "/") -> Interfaces:
    """The interfaces of the node `name`, as the rclpy node `observer` sees them, named relative to that node."""
    own = f"{namespace.rstrip('/')}/{name}/"
    space = f"{namespace.rstrip('/')}/"

    def relative(full_name: str) -> str:
        if full_name.startswith(own):
            return "~/" + full_name.removeprefix(own)
        return full_name if full_name in ABSOLUTE or not full_name.startswith(space) else full_name.removeprefix(space)

    def names(pairs) -> set[str]:
        """Those of actions are told by the actions."""
        return {relative(full_name) for full_name, _ in pairs if "/_action/" not in full_name}

    return Interfaces(
        publishes=names(observer.get_publisher_names_and_types_by_node(name, namespace)),
        subscribes=names(observer.get_subscriber_names_and_types_by_node(name, namespace)),
        replies=names(observer.get_service_names_and_types_by_node(name, namespace)),
        requests=names(observer.get_client_names_and_types_by_node(name, namespace)),
        executes=names(get_action_server_names_and_types_by_node(observer, name, namespace)),
        calls=names(get_action_client_names_and_types_by_node(observer, name, namespace)),
    )
