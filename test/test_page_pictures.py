"""Live pictures of the page, from a real camera node to a reader that takes what a browser takes, but draws nothing."""

import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("nicegui")
READER = Path(__file__).parents[1] / "benchmarks" / "page_reader.py"


@pytest.mark.parametrize("source_px", [pytest.param(64, marks=pytest.mark.slow), 128])
def test_a_camera_that_gives_no_larger_view_is_shown_as_it_is(start_node, tmp_path, source_px):
    """Its topic image_view is there, and stays empty where the policy's image is all that the source has."""
    noise = np.random.default_rng(0).integers(0, 255, (source_px, source_px, 3), np.uint8)
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "0.png"), noise)
    start_node("camera", source=str(tmp_path / "pictures"), width=64, height=64, rate_hz=20.0, ready="ready: ")
    node = start_node("operator_page", page_port=0)
    address = node.wait_for_line("page: http", 60).partition("page: ")[2].split()[0]
    command = [sys.executable, str(READER), address, "--cameras", "view"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as reader:
        try:
            assert reader.stdout.readline() == "reading\n"  # a browser would stay black; the limit of the test ends it
        finally:
            reader.send_signal(signal.SIGINT)
