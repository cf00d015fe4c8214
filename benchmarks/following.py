"""Random steps with random cancels before a driver that lags and sags: does the arm do what was commanded?

    python benchmarks/following.py --steps 4000 --json docs/data/following.json
"""

import argparse
import json
import time

from output import output_file

from am_ros.control.controller import ControllerConfig
from am_ros.control.guard import GuardConfig
from am_ros.control.limits import MotionLimits
from am_ros.faults.following import LATENCY_S, Cell, study
from am_ros.sim.driver import CONTROLLER, DriverConfig

# Of a compliant arm: A2 and A4 carry it.
SAG_RAD = (0.0, -0.004, 0.0, -0.004, 0.0, 0.0, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--cancels", type=float, default=0.3, help="share of steps that are cancelled (default 0.3)")
    parser.add_argument("--scale", type=float, default=0.9, help="velocity_scale (default 0.9)")
    parser.add_argument("--lag", type=float, default=0.04, help="seconds that the arm is late (default 0.04)")
    parser.add_argument("--follow", type=float, default=1.0, help="driver_follow, 0.1: as lbr_fri (default 1)")
    parser.add_argument(
        "--measured", action="store_true", help="the driver enters trajectories from the measured state"
    )
    parser.add_argument(
        "--late", type=float, default=0.003, help="longest time in s that a trajectory is on its way (default 0.003)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reduced", action="store_true")
    parser.add_argument("--json", type=output_file, help="write the figures to this file")
    arguments = parser.parse_args()
    limits, guard = MotionLimits(velocity_scale=arguments.scale), GuardConfig(reduced=arguments.reduced)
    config = ControllerConfig(limits=limits, guard=guard)
    driver = DriverConfig(
        driver=CONTROLLER, driver_lag_s=arguments.lag, driver_sag_rad=SAG_RAD,
        driver_follow=arguments.follow, driver_from_desired=not arguments.measured,
    )  # fmt: skip
    began_s = time.monotonic()
    cell = Cell(config, driver, latency_s=(LATENCY_S[0], arguments.late))
    result = study(cell, arguments.steps, arguments.cancels, arguments.seed)
    print(f"{result.steps} steps, {result.cancelled} stopped on the way, in {time.monotonic() - began_s:.0f} s")
    print(f"ended: {result.ended}")
    print(f"tool at most {result.tool_off_mm:.1f} mm from the sum of its steps")
    print(f"command: {result.velocity:.1%} of the velocity limit, {result.acceleration:.1%} of the acceleration limit")
    if arguments.json:
        arguments.json.write_text(json.dumps(vars(result), indent=2) + "\n")


if __name__ == "__main__":
    main()
