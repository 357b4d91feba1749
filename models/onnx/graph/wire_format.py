"""What parsing an ONNX file would cost, counted in its bytes before any of it is parsed.

Protobuf makes an object of about 200 bytes for a message that takes 2 bytes in the file, and 8 bytes for a packed
integer that takes 1: a file of 50 MB can ask for 5 GB. The encoding is simple enough to be walked without making
anything: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from functools import cache
from typing import Any

# Of all messages together. An export of EfficientNetB0 has 5,450.
MAX_FIELDS = 500_000
# Darkroom, tf2onnx and PyTorch write weights as bytes, not as a list of integers.
MAX_PACKED_BYTES = 16 * 2**20

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


def too_much_to_parse(data: bytes) -> str | None:
    """Why a serialized `onnx.ModelProto` is not to be parsed, in words; None where it takes little more than its bytes.

    At `MAX_FIELDS` and `MAX_PACKED_BYTES` the objects take a quarter of a GiB.

    Args:
        data: The file.

    Raises:
        ValueError: where it is no protobuf.
    """
    import onnx

    try:
        num_fields = num_packed = 0
        waiting = [(0, len(data), onnx.ModelProto.DESCRIPTOR)]
        while waiting:
            place, end, message = waiting.pop()
            inner, packed = _fields(message)
            while place < end:
                num_fields += 1
                if num_fields > MAX_FIELDS:
                    return f"it holds more than {MAX_FIELDS:,} fields"
                key, place = _varint(data, place)
                place, stop = _value(data, place, key & 7)
                if stop > end:
                    raise ValueError("a field is longer than what holds it")
                if key & 7 == _BYTES and key >> 3 in inner:
                    waiting.append((place, stop, inner[key >> 3]))
                elif key & 7 == _BYTES and key >> 3 in packed:
                    num_packed += stop - place
                    if num_packed > MAX_PACKED_BYTES:
                        return f"it holds more than {MAX_PACKED_BYTES >> 20} MiB of lists of integers"
                place = stop
    except IndexError:
        raise ValueError("it ends in the middle of a field") from None
    return None


def _value(data: bytes, place: int, kind: int) -> tuple[int, int]:
    """Where the value of a field begins and ends."""
    if kind == _BYTES:
        size, place = _varint(data, place)
        return place, place + size
    if kind == _VARINT:
        return place, _varint(data, place)[1]
    if kind in (_FIXED64, _FIXED32):
        return place, place + (8 if kind == _FIXED64 else 4)
    raise ValueError("it holds a group, which ONNX does not have")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and where it ends."""
    number = data[place]
    if number < 0x80:
        return number, place + 1
    number &= 0x7F
    for count in range(1, _MAX_VARINT_BYTES):
        byte = data[place + count]
        number |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return number, place + count + 1
    raise ValueError("a number has too many bytes")


@cache
def _fields(message: Any) -> tuple[dict[int, Any], frozenset[int]]:
    """The fields of a message that hold messages, by number; and those that hold integers, which may be packed."""
    fields = message.fields_by_number.items()
    integers = (message.fields[0].CPPTYPE_INT32, message.fields[0].CPPTYPE_INT64, message.fields[0].CPPTYPE_UINT64)
    inner = {number: field.message_type for number, field in fields if field.message_type is not None}
    return inner, frozenset(number for number, field in fields if field.cpp_type in integers)
