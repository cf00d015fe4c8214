"""When an object is taken up: where grasping ends and placing begins."""

from am_ros.sim.scene import SceneState

LIFT_M = 0.055  # an object this much higher than at the start is in the air: more than another block's height ...
PUT_DOWN_M = 0.035  # ... and below this it lies again; between the two, what it was before


class LiftWatch:
    """Follows a scene from its start, state by state."""

    def __init__(self):
        self._start: dict[str, float] = {}  # height of each object [m]
        self._in_air = False

    def taken_up(self, scene: SceneState) -> bool:
        """Whether a wanted object (any, if the task wants none in particular) has just come off the ground."""
        objects = [o for o in scene.objects if o.goal is not None] or scene.objects
        height = {o.name: o.pose.position_m[2] for o in objects}
        self._start = self._start or height
        rise = max((z - self._start[name] for name, z in height.items()), default=0.0)
        was_in_air = self._in_air
        self._in_air = rise > (PUT_DOWN_M if was_in_air else LIFT_M)
        return self._in_air and not was_in_air
