"""The operator's page: what a browser shows of a cell or of a disk, and what its buttons do. No ROS here.

`source` says what a page needs to know and to do, `disk` answers from folders, and am_ros/ros/page from running nodes;
`views` draw it; `server` hands it out, `guard` to whom.
"""

import os

os.environ.setdefault("MATPLOTLIB", "false")  # NiceGUI would import it for plots that are not used here: half a second
