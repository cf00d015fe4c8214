"""What would a better cloning head give? `am-ros evaluate` with the Q of one checkpoint and the head of another.

    python benchmarks/other_head.py runs/long_gcbc/checkpoint evaluate runs/long_best/checkpoint --stop-sum 0

The head proposes candidates and counts by its likelihood, as the checkpoint's own would; everything else is its own. It
answers whether a network's Q or its head is what holds it back, and makes no checkpoint. One process only.
"""

import argparse
import sys

from am_ros import cli
from am_ros.errors import AmRosError
from am_ros.evaluation import actors
from am_ros.learning.networks import QNetwork
from am_ros.learning.policy import Policy


class OtherHead(QNetwork):
    """Q of one network, the behaviour prior of another; both see everything."""

    def __init__(self, q: QNetwork, head: QNetwork):
        super().__init__()
        self.q, self.head, self.config = q, head, q.config

    def encode(self, image, goal_image, state):
        """The encodings of both."""
        return self.q.encode(image, goal_image, state), self.head.encode(image, goal_image, state)

    def score(self, encoding, actions):
        """Logits [B, N] by the first."""
        return self.q.score(encoding[0], actions)

    def prior(self, encoding):
        """What the other would do."""
        return self.head.prior(encoding[1])


def main(head: str, arguments: list[str]) -> int:
    """Run the command line's verb with that head in every policy that it loads."""
    load, other = actors.load_policy, Policy.load(head).acting
    if not other.config.behaviour_prior:
        raise AmRosError(f"{head}: has no cloning head")

    def load_policy(*given, **options) -> Policy:
        policy = load(*given, **options)
        if policy.network.config.observation_shape != other.config.observation_shape:
            raise AmRosError(f"{head}: sees other observations than the policy")
        policy.acting = OtherHead(policy.acting, other)
        return policy

    actors.load_policy = load_policy
    return cli.main(arguments)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("head", help="checkpoint whose cloning head is taken")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="am-ros's own: evaluate CHECKPOINT ...")
    given = parser.parse_args()
    try:
        sys.exit(main(given.head, given.arguments))
    except AmRosError as error:
        sys.exit(f"other_head: {error}")
