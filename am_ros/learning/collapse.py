"""Early signs that a Q-function says nothing: the same everywhere, all of it high, or all of it near zero."""

FROM_UPDATE = 1000  # before, Q of a healthy training is flat, too
REPORTS = 5  # so many in a row: one batch of another kind is no collapse


class CollapseWatch:
    """Looks at each report of a training; `look` returns one sentence, once, when Q seems to have collapsed."""

    def __init__(self) -> None:
        self._in_a_row, self._said = 0, False

    def look(self, update: int, metrics: dict[str, float]) -> str | None:
        """`metrics` as the methods log them: q_seen, and q_unseen where there are negatives."""
        sign = _sign(metrics) if update >= FROM_UPDATE and not self._said else None
        self._in_a_row = self._in_a_row + 1 if sign else 0
        if self._in_a_row < REPORTS:
            return None
        self._said = True
        return f"update {update}: Q seems to have collapsed: {sign}"


def _sign(metrics: dict[str, float]) -> str | None:
    if "q_seen" not in metrics:
        return None
    seen, unseen = metrics["q_seen"], metrics.get("q_unseen")
    if seen > 0.9 and (unseen is None or unseen > 0.9):
        everywhere = f" and {unseen:.2f} at others" if unseen is not None else ", and nothing in this method lowers it"
        return f"it is {seen:.2f} at the data's actions{everywhere}; more negatives or a lower gamma hold it down"
    if seen < 0.02:
        return f"it is {seen:.3f} even where the data reached the goal; fewer negatives or a higher gamma lift it"
    # A task reward without relabelled items has no negatives: nothing tells its unseen actions from the seen ones.
    if unseen is not None and metrics.get("loss_negative", 0.0) > 0 and unseen > 0.9 * seen:
        return f"it is {seen:.2f} at the actions of the data and {unseen:.2f} at others, so it cannot tell them apart"
    return None
