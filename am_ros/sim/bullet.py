"""PyBullet, imported without the line that its C code writes to stderr in every process."""

import os
import sys
import tempfile

import cv2
import numpy as np


def _import_quietly():
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        import pybullet
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
    return pybullet


pybullet = _import_quietly()


def load_texture(rgb: np.ndarray, client: int) -> int:
    """Hand a picture, uint8 [H, W, 3], to a physics client; returns its id. PyBullet reads textures from files only."""
    handle, path = tempfile.mkstemp(suffix=".png")
    os.close(handle)
    try:
        cv2.imwrite(path, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        return pybullet.loadTexture(path, physicsClientId=client)
    finally:
        os.unlink(path)
