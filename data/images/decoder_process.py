"""A decoder in a process of its own, which may die: `python -m darkroom.data.images.decoder_process POLICY < FILE`.

It answers on standard output with a line of JSON, and behind it the pixels, `uint8[H, W, 3]`.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import numpy as np

from darkroom.data.errors import ImageError
from darkroom.data.images.decode import Decoded, decode_with_header
from darkroom.data.images.pixels.decode_policy import DecodePolicy

# Many times what any image may take; a decoder that hangs is as bad as one that crashes.
_MAX_CPU_SECONDS = 120


def decode_alone(data: bytes, policy: DecodePolicy) -> Decoded:
    """`decode_with_header` in a process of its own.

    Args:
        data: The whole file, bytes.
        policy: How it is decoded and resized.

    Raises:
        ImageError: as `decode_with_header` does; `decoder_crashed` where the process died.
    """
    command = [sys.executable, "-P", "-m", "darkroom.data.images.decoder_process", policy.model_dump_json()]
    ended = subprocess.run(  # noqa: S603
        command, input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
    )
    said, _, pixels = ended.stdout.partition(b"\n")
    if ended.returncode:
        raise ImageError("decoder_crashed", f"its process ended with {ended.returncode}")
    answer = json.loads(said)
    if "reason" in answer:
        raise ImageError(**answer)
    return Decoded(pixels=np.frombuffer(pixels, np.uint8).reshape(*policy.image_size, 3), **answer)


def main() -> None:
    """Decode standard input."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (_MAX_CPU_SECONDS, _MAX_CPU_SECONDS))
    pixels = b""
    try:
        decoded = decode_with_header(sys.stdin.buffer.read(), DecodePolicy.model_validate_json(sys.argv[1]))
        pixels = decoded.pixels.tobytes()
        answer = {name: value for name, value in vars(decoded).items() if name != "pixels"}
    except ImageError as error:
        answer = {"reason": error.reason, "detail": error.detail}
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + pixels)


if __name__ == "__main__":
    main()
