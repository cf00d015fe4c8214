"""MoveItConfigsBuilder, as far as it is called: packages and files that are there, and those that are not."""

FILES = ("package/some.urdf.xacro", "package/some.srdf", "package/limits.yaml")


class MoveItConfigsBuilder:
    """Gathers a configuration."""

    def __init__(self, robot_name: str, robot_description: str = "robot_description", package_name=None):
        if package_name != "iiwa14_moveit_config":
            raise LookupError(f"package '{package_name}' not found")
        self._values = {"robot_description": "<robot/>", "robot_description_planning": {}}

    def robot_description(self, file_path=None, mappings=None):
        return self._has("robot_description", file_path)

    def robot_description_semantic(self, file_path=None, mappings=None):
        return self._has("robot_description_semantic", file_path)

    def joint_limits(self, file_path=None):
        return self._has("robot_description_planning", file_path)

    def planning_pipelines(self, default_planning_pipeline=None, pipelines=None, load_all: bool = True):
        """Each pipeline's parameters stand beside the list of all."""
        self._values |= {"planning_pipelines": pipelines, "default_planning_pipeline": pipelines[0]}
        plugins = {"planning_plugins": ["pilz_industrial_motion_planner/CommandPlanner"]}
        self._values |= dict.fromkeys(pipelines, plugins)
        return self

    def to_moveit_configs(self):
        self._values |= {"moveit_controller_manager": "moveit_simple_controller_manager/MoveItSimpleControllerManager"}
        return self

    def to_dict(self) -> dict:
        return dict(self._values)

    def _has(self, name: str, file_path):
        if not str(file_path).endswith(FILES):
            raise KeyError(f"File {file_path} doesn't exist")  # ParameterBuilderFileNotFoundError is a KeyError
        self._values[name] = f"<{file_path}>"
        return self
