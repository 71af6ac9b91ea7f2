"""Files of arrays in the layout of safetensors, with a checksum: written whole or not at all, refused unless whole."""

from __future__ import annotations

import contextlib
import json
import math
import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CheckpointError", "check_writable", "read", "write"]

_DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}
_OPEN = b'{"__metadata__":{"crc32":"'
_CRC = slice(8 + len(_OPEN), 16 + len(_OPEN))
_LARGEST_HEADER = 100_000_000


class CheckpointError(ValueError):
    """A file that cannot be read or written, is not whole, or belongs to another run; nothing has changed."""


def write(path: str | os.PathLike[str], tensors: dict[str, NDArray[Any]], metadata: dict[str, str]) -> None:
    """Write to a file beside `path`, flush it to the disk, and put it in the place of `path`.

    The CRC-32 in the metadata is that of the whole file with eight zeros in its place.
    """
    header: dict[str, Any] = {"__metadata__": {"crc32": "0" * 8, **metadata}}
    pieces, end = [], 0
    for name, tensor in tensors.items():
        kind = next(key for key, value in _DTYPES.items() if np.dtype(value) == tensor.dtype)
        data = np.ascontiguousarray(tensor, _DTYPES[kind]).tobytes()
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [end, end + len(data)]}
        end += len(data)
        pieces.append(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    whole = bytearray(struct.pack("<Q", len(text)) + text + b"".join(pieces))
    whole[_CRC] = f"{zlib.crc32(whole):08x}".encode()
    target = Path(path)
    check_writable(target)
    beside = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(whole)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except OSError as e:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise CheckpointError(f"{target} cannot be written: {e.strerror or e}") from e


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuses before the work what could not be written after it."""
    target = Path(path)
    if target.is_dir():
        raise CheckpointError(f"{target} cannot be written: it is a directory; expected the name of a file")
    if not target.parent.is_dir():
        raise CheckpointError(f"{target} cannot be written: there is no directory {target.parent}")
    if not os.access(target.parent, os.W_OK):
        raise CheckpointError(f"{target} cannot be written: nothing can be written to {target.parent}")


def read(path: str | os.PathLike[str]) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Arrays and metadata of a file of `write`.

    Raises
    ------
    CheckpointError
        For everything that is wrong with it.
    """
    try:
        whole = Path(path).read_bytes()
    except OSError as e:
        raise CheckpointError(f"{path} cannot be read: {e.strerror or e}") from e
    try:
        return _parse(whole)
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise CheckpointError(f"{path} is no file of ours, or damaged: {e}") from e


def _parse(whole: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    if len(whole) < 8:
        raise ValueError(f"{len(whole)} bytes")
    (size,) = struct.unpack("<Q", whole[:8])
    if size > min(_LARGEST_HEADER, len(whole) - 8):
        raise ValueError(f"a header of {size} bytes in a file of {len(whole)}")
    if not whole[8:].startswith(_OPEN):
        raise ValueError("the header does not begin with a checksum")
    plain = bytearray(whole)
    plain[_CRC] = b"0" * 8
    if whole[_CRC] != f"{zlib.crc32(plain):08x}".encode():
        raise ValueError("the checksum does not fit")
    header = json.loads(whole[8 : 8 + size].decode(), object_pairs_hook=_unique)
    metadata = header.pop("__metadata__")
    del metadata["crc32"]
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("metadata that are not text")
    data, end, tensors = memoryview(whole)[8 + size :], 0, {}
    for name, entry in header.items():
        dtype, shape, (begin, stop) = np.dtype(_DTYPES[entry["dtype"]]), entry["shape"], entry["data_offsets"]
        if not all(type(n) is int and n >= 0 for n in (*shape, begin, stop)) or len(shape) > 8:
            raise ValueError(f"{name} has shape {shape} at {begin} to {stop}")
        if begin != end or stop - begin != math.prod(shape) * dtype.itemsize or stop > len(data):
            raise ValueError(f"{name} of shape {shape} lies at {begin} to {stop}; expected it from {end} on")
        tensors[name] = np.frombuffer(data[begin:stop], dtype).reshape(shape)
        end = stop
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes belong to no array")
    return tensors, metadata


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name comes twice")
    return made
