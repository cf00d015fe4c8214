"""What the search looked at in its last decision, as markers for RViz and Foxglove, coloured by Q; and back."""

from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from am_ros.action import CartesianAction
from am_ros.page.source import Candidate

TOPIC = "policy_server/candidates"
SIZE_M = 0.008
MAX_CANDIDATES = 2000
# From low to high, as the pictures of `am-ros qmap`: ColorBrewer's RdBu.
LOW, MIDDLE, HIGH = (0.13, 0.40, 0.67), (0.92, 0.92, 0.92), (0.70, 0.09, 0.17)


class CandidatePublisher:
    """Publishes for a policy server; while nobody listens it costs a look at the number of subscriptions."""

    def __init__(self, node, base_frame: str):
        self._node, self._frame = node, base_frame
        self._publisher = node.create_publisher(MarkerArray, "~/candidates", 1)

    @property
    def wanted(self) -> bool:
        """Whether anybody listens."""
        return self._publisher.get_subscription_count() > 0

    def publish(self, policy, start_m, chosen: CartesianAction) -> None:
        """What `policy` looked at in its last decision, from where the tool was."""
        if policy.candidates is None:
            return
        actions, logits = policy.candidates
        kept = np.isfinite(logits) & (actions[:, -1] < 0.5)  # those that move
        ways = actions[kept, :3] * np.asarray(policy.action_space.scale[:3])
        values = 1 / (1 + np.exp(-logits[kept].astype(float)))
        header = Header(frame_id=self._frame, stamp=self._node.get_clock().now().to_msg())
        self._publisher.publish(candidate_markers(start_m, ways, values.tolist(), chosen.translation_m, header))


def candidate_markers(start_m, displacements_m, values: Sequence[float], chosen_m, header) -> MarkerArray:
    """Where each candidate would lead from `start_m` [3], coloured from the lowest to the highest of `values`.

    `displacements_m` [n, 3]. The chosen step is an arrow. The values stand in the text of the first marker too, for
    programs: RViz shows no text of points.
    """
    low, high = (min(values), max(values)) if len(values) else (0.0, 1.0)
    points = Marker(header=header, ns="candidates", type=Marker.SPHERE_LIST, action=Marker.ADD)
    points.pose.orientation.w = 1.0
    points.scale.x = points.scale.y = points.scale.z = SIZE_M
    points.points = [_point(start_m, way) for way in displacements_m]
    points.colors = [_colour((value - low) / (high - low) if high > low else 0.5) for value in values]
    points.text = " ".join(f"{value:.4f}" for value in values)
    arrow = Marker(header=header, ns="step", type=Marker.ARROW, action=Marker.ADD)
    arrow.pose.orientation.w = 1.0
    arrow.scale.x, arrow.scale.y, arrow.scale.z = 0.006, 0.014, 0.02
    arrow.points = [_point(start_m, (0.0, 0.0, 0.0)), _point(start_m, chosen_m)]
    arrow.color = ColorRGBA(r=0.1, g=0.1, b=0.1, a=1.0)
    return MarkerArray(markers=[points, arrow])


def read_candidates(message: MarkerArray) -> list[Candidate]:
    """The inverse; empty for markers that are not ours."""
    if not message.markers or message.markers[0].ns != "candidates":
        return []
    marker = message.markers[0]
    try:
        values = [float(word) for word in marker.text.split()]
    except ValueError:
        return []
    pairs = list(zip(marker.points, values, strict=False))[:MAX_CANDIDATES]
    return [Candidate((p.x, p.y, p.z), q) for p, q in pairs]


def _point(start_m, way) -> Point:
    return Point(x=start_m[0] + float(way[0]), y=start_m[1] + float(way[1]), z=start_m[2] + float(way[2]))


def _colour(share: float) -> ColorRGBA:
    a, b, t = (LOW, MIDDLE, 2 * share) if share < 0.5 else (MIDDLE, HIGH, 2 * share - 1)
    red, green, blue = (float(x + (y - x) * t) for x, y in zip(a, b, strict=True))
    return ColorRGBA(r=red, g=green, b=blue, a=0.9)
