"""The views of the page, in the order of the bar."""

from am_ros.page.views import cell, check, episodes, goals, teach, training

VIEWS = (
    ("/", "Cell", cell.draw),
    ("/goals", "Goals", goals.draw),
    ("/episodes", "Episodes", episodes.draw),
    ("/training", "Training", training.draw),
    ("/check", "Check", check.draw),
    ("/teach", "Teach", teach.draw),
)
