"""PyBullet, imported without the line that its C code writes to stderr in every process."""

import os
import sys


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
