"""The whole look at a cell, in the order in which one mends it: this machine, the topics, the arm, the policy."""

from collections.abc import Mapping

from am_ros.cell.graph import BRINGUP
from am_ros.cell.security import ENABLE, check_security
from am_ros.errors import AmRosError
from am_ros.preflight.arm import check_arm
from am_ros.preflight.cell import Cell
from am_ros.preflight.commands import check_commands
from am_ros.preflight.findings import Finding, ok, wrong
from am_ros.preflight.machine import check_discovery, check_folders, check_transport
from am_ros.preflight.observed import Observed
from am_ros.preflight.publishers import check_publishers
from am_ros.preflight.serving import check_policy
from am_ros.preflight.settings import check_parameters
from am_ros.preflight.streams import check_clock, check_image, check_stamps, check_streams

# An image of the size that the papers use, where nothing says how large it will be.
USUAL_SIZE = (472, 472)


def check_configuration(cell: Cell, environ: Mapping[str, str], known: Mapping) -> list[Finding]:
    """What can be told without any node: parameters, this machine, security."""
    height, width = cell.image_size or USUAL_SIZE
    return [
        *check_parameters(cell, known),
        *check_folders(cell),
        *check_transport(environ, height * width * 3, len(cell.specs)),
        *check_discovery(environ),
        _security(environ),
    ]


def check_cell(cell: Cell, observed: Observed) -> list[Finding]:
    """What the running cell shows."""
    return [
        *check_clock(cell, observed),
        *check_streams(cell, observed),
        *check_publishers(cell, observed),
        *check_commands(cell, observed),
        *check_stamps(cell, observed),
        *check_image(cell, observed),
        *check_arm(cell, observed),
        *check_policy(cell, observed),
        *_twins(cell, observed),
    ]


def _security(environ: Mapping[str, str]) -> Finding:
    try:
        check_security(environ)
    except AmRosError as error:
        return wrong("security", str(error), "docs/security.md says what there is")
    on = environ.get(ENABLE) == "true"
    return ok("security", "DDS-Security is on" if on else "DDS-Security is off: whoever finds the nodes may command")


def _twins(cell: Cell, observed: Observed) -> list[Finding]:
    """Nodes of the cell that run twice: both would answer, and which one does is chance."""
    own = {f"{cell.namespace}/{spec.label}" for spec in cell.specs if spec.label != BRINGUP}
    twice = sorted(node for node in own if observed.nodes.count(node) > 1)
    if not twice:
        return []
    mend = "stop one of them, or give each cell its namespace:="
    return [wrong("node_twice", f"{', '.join(twice)} runs twice", mend)]
