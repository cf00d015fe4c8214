"""MoveItConfigsBuilder, as far as it is called."""


class MoveItConfigsBuilder:
    """Gathers a configuration."""

    def __init__(self, robot_name: str, robot_description: str = "robot_description", *, package_name=None):
        if package_name != "iiwa14_moveit_config":
            raise LookupError(f"package '{package_name}' not found")
        self._values = {"robot_name": robot_name}

    def planning_pipelines(self, default_planning_pipeline=None, pipelines=None, load_all: bool = True):
        self._values["planning_pipelines"] = pipelines
        return self

    def to_moveit_configs(self):
        return self

    def to_dict(self) -> dict:
        return dict(self._values)
