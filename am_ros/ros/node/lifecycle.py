"""The lifecycle of the nodes that act: configure checks, activate lets the arm move, deactivate stops it."""

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

from am_ros.errors import AmRosError


class ActingNode(LifecycleNode, ABC):
    """Subclasses say what to check in `configure` and what to stop in `deactivate`, and look at `active`."""

    active = False

    @abstractmethod
    def configure(self) -> None:
        """Check everything that can be checked before anything moves; raise AmRosError that names what is wrong.

        Called again after a failure or a clean-up, so that a mended file counts.
        """

    def activate(self) -> None:
        """Begin to act; `active` becomes true afterwards."""

    def deactivate(self) -> None:
        """Stop what moves; `active` is false already."""

    def start_by_itself(self) -> None:
        """Configure and activate (parameter `autostart`); raises AmRosError if one of them fails."""
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() != TransitionCallbackReturn.SUCCESS:
                raise AmRosError("could not start; the reason is in the log above")

    def on_configure(self, state) -> TransitionCallbackReturn:
        """As rclpy calls it."""
        return super().on_configure(state) if self._done(self.configure) else TransitionCallbackReturn.FAILURE

    def on_activate(self, state) -> TransitionCallbackReturn:
        """As rclpy calls it."""
        self.active = self._done(self.activate)
        return super().on_activate(state) if self.active else TransitionCallbackReturn.FAILURE

    def on_deactivate(self, state) -> TransitionCallbackReturn:
        """As rclpy calls it."""
        self.active = False
        return super().on_deactivate(state) if self._done(self.deactivate) else TransitionCallbackReturn.FAILURE

    def on_shutdown(self, state) -> TransitionCallbackReturn:
        """As rclpy calls it, from any state."""
        if self.active:
            self.on_deactivate(state)
        return super().on_shutdown(state)

    def _LifecycleNodeMixin__change_state(self, transition_id: int) -> TransitionCallbackReturn:
        """In place of rclpy's, which lets a node die of a transition that its state does not have."""
        try:
            return super()._LifecycleNodeMixin__change_state(transition_id)  # type: ignore[misc]  # rclpy's private one
        except rclpy_implementation.RCLError:
            self.get_logger().warning(f"transition {transition_id} refused: the node is {self._state_label()}")
            return TransitionCallbackReturn.FAILURE

    def _state_label(self) -> str:
        return self._state_machine.current_state[1]

    def _done(self, function: Callable[[], None]) -> bool:
        """Whether it went through; an AmRosError is logged, and anything else too, which rclpy would swallow."""
        try:
            function()
        except AmRosError as error:
            self.get_logger().error(str(error))
            return False
        except Exception:
            self.get_logger().error(traceback.format_exc())
            raise
        return True
