"""H.264 and H.265 in a bag: one packet a message, decoded in order from the first key frame on. By PyAV, an extra."""

import re
import statistics
from collections import deque
from typing import Any

import numpy as np

from am_ros.errors import AmRosError

# foxglove_msgs; the two generations of ffmpeg_image_transport.
VIDEO, PACKET = "foxglove_msgs/msg/CompressedVideo", "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
TYPES = (VIDEO, PACKET, "ffmpeg_image_transport/msg/FFMPEGPacket")

GAP = 1.7  # so many times the usual time between two packets: one is missing
# Names of encoders and of the formats: "h264", "H.264", "libx264", "h264_nvenc", "hevc_vaapi; yuv420p; bgr8; bgr8".
_H264 = re.compile(r"[hx]\.?264|avc", re.IGNORECASE)
_H265 = re.compile(r"[hx]\.?265|hevc", re.IGNORECASE)


def is_video(name: str) -> bool:
    """Whether a format or encoding is of a video that is known here."""
    return bool(_H264.search(name) or _H265.search(name))


def codec_of(message) -> str:
    """ "h264" or "hevc", as FFmpeg calls the decoders; AmRosError names what it is instead."""
    told = message.format if hasattr(message, "format") else message.encoding
    if not is_video(told):
        raise AmRosError(f"video {told!r}: is neither H.264 nor H.265, which alone are read")
    return "h264" if _H264.search(told) else "hevc"


class Video:
    """Decodes one stream."""

    def __init__(self, codec: str):
        """AmRosError if PyAV is not installed."""
        try:
            import av  # 40 MB of FFmpeg, which only these bags need
        except ImportError:
            raise AmRosError(
                f"image: {codec} video needs PyAV, which is not installed: pip install 'am_ros[video]'"
            ) from None
        self._av = av
        self._decoder: Any = av.CodecContext.create(codec, "r")
        self._decoder.thread_type = "NONE"  # threads would hold back as many pictures as there are of them
        self._decoder.flags |= int(av.codec.context.Flags.low_delay)
        self._count, self._out_of_order = 0, False
        self._last_ns: int | None = None
        self._intervals: deque[int] = deque(maxlen=20)

    def decode(self, message, stamp_ns: int) -> np.ndarray:
        """The picture of the next message, RGB uint8 [H, W, 3]; AmRosError if it cannot be had."""
        self._watch_gaps(stamp_ns)
        packet = self._av.Packet(bytes(message.data))
        packet.pts, self._count = self._count, self._count + 1
        try:
            frames = self._decoder.decode(packet)
        except self._av.error.FFmpegError:
            frames = []
        # Before the first key frame, and from a lost or damaged packet on until the next, there is none.
        if not frames:
            raise AmRosError("video without a picture: a key frame, or a packet since the last one, is missing")
        self._out_of_order = self._out_of_order or frames[-1].pts != packet.pts
        if self._out_of_order:
            raise AmRosError("video out of order: has B-frames, so that a packet does not give its own picture")
        return frames[-1].to_ndarray(format="rgb24")

    def _watch_gaps(self, stamp_ns: int) -> None:
        """Where a packet is missing, FFmpeg may make up what it does not know: it has to begin anew at a key frame."""
        if self._last_ns is not None:
            interval = stamp_ns - self._last_ns
            if len(self._intervals) >= 5 and not 0 < interval < GAP * statistics.median(self._intervals):
                self._decoder.flush_buffers()
            self._intervals.append(interval)
        self._last_ns = stamp_ns
