"""Reading a dictionary that `numpy.save` pickled, without unpickling it.

`np.save(path, {"elevation": 30.0})` writes an array of one object, which is a pickle, and to unpickle is to run what it says.
Here its opcodes, as the standard library's `pickletools` tells them, are followed for what they hold: text, numbers, arrays of
numbers and a dictionary of these by names. Nothing that a file names is imported or called. NumPy's own names for arrays,
scalars and their types have stand-ins that take the bytes of numbers and nothing else; any other name is refused, and so is a
large file.
"""

import io
import pickletools
import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

LARGEST = 64 * 2**10
"""Bytes of a file; one of a camera has 300."""

Value = str | bool | int | float | np.ndarray | None
# Kinds of NumPy's numbers: boolean, signed, unsigned, floating.
_NUMBERS = "biuf"
_VALUES = frozenset(
    (
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "BINFLOAT",
        "SHORT_BINUNICODE",
        "BINUNICODE",
        "BINBYTES",
        "SHORT_BINBYTES",
    )
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()
# What corrupt bytes make of NumPy's parser of headers, that of opcodes, and the stand-ins.
_BROKEN = (
    SyntaxError,
    tokenize.TokenError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    OverflowError,
    MemoryError,
)


def read_object_dict(data: bytes) -> dict[str, Value]:
    """The dictionary in a `.npy` file of one object: text, numbers and arrays of numbers by names.

    Args:
        data: the whole file.

    Raises:
        ValueError: in one line, when the file is too large, holds something else, is damaged, or names anything that is
            not NumPy's own way to write numbers.
    """
    if len(data) > LARGEST:
        raise ValueError(f"{len(data)} bytes, over {LARGEST}")
    try:
        array = _followed(_pickle_of(data))
    except _BROKEN as error:
        raise ValueError(f"damaged ({type(error).__name__})") from None
    content = array.value if isinstance(array, _Array) else array
    if not isinstance(content, dict):
        raise ValueError("no dictionary")  # noqa: TRY004 - the file's fault and not a caller's
    return {name: _plain(name, value) for name, value in content.items()}


def _pickle_of(data: bytes) -> bytes:
    """What follows the header of a `.npy` file that holds one object."""
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("another version of NumPy's format")
    shape, _, kind = np.lib.format.read_array_header_1_0(stream)
    if shape != () or kind != np.dtype(object):
        raise ValueError(f"{kind} of shape {shape} and no object")
    return stream.read()


def _plain(name: str, value: object) -> Value:
    if isinstance(value, _Array):
        value = value.value
    if value is None or isinstance(value, bool | int | float | str | np.ndarray):
        return value
    raise ValueError(f"{name} is neither text nor number")


@dataclass(frozen=True)
class _Named:
    """What a pickle names."""

    name: str


class _Dtype:
    """Stands in for `numpy.dtype`: the kind and size of numbers, such as f8, or O for objects, and then their byte order."""

    def __init__(self, name: str, *_: object) -> None:
        self.name, self.order = name, "="

    def build(self, state: Any) -> None:  # noqa: ANN401 - whatever is in the file
        """Take the byte order."""
        self.order = state[1]

    def numbers(self, data: bytes) -> np.ndarray:
        """The numbers that bytes are."""
        kind = np.dtype(self.name)
        if kind.kind not in _NUMBERS or not isinstance(data, bytes):
            raise ValueError(f"values of type {self.name!r}, which are no numbers")
        order = "=" if self.order == "|" else self.order
        return np.frombuffer(data, kind.newbyteorder(cast("Literal['<', '>', '=']", order)))


class _Array:
    """Stands in for `numpy.ndarray`."""

    def __init__(self, *_: object) -> None:
        self.value: object = None

    def build(self, state: Any) -> None:  # noqa: ANN401 - whatever is in the file
        """Take shape and content."""
        _, shape, kind, columns_first, data = state
        if kind.name.startswith("O"):
            (self.value,) = data
        else:
            self.value = kind.numbers(data).reshape(shape, order="F" if columns_first else "C")


def _scalar(kind: _Dtype, data: bytes) -> bool | int | float:
    number: bool | int | float = kind.numbers(data).item()
    return number


_STAND_INS: dict[str, Callable[..., object]] = {
    # How protocol 2 writes bytes.
    "_codecs.encode": lambda text, encoding: text.encode({"latin1": "latin1"}[encoding]),
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _Array,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray.scalar": _scalar,
}


def _followed(pickled: bytes) -> object:
    """What a pickle's opcodes put together.

    Raises:
        ValueError: at an opcode that dictionaries of numbers have no use for, or a name without a stand-in.
    """
    stack: list[Any] = []
    memo: dict[int, object] = {}
    for opcode, argument, _ in pickletools.genops(pickled):
        name = opcode.name
        if name == "STOP":
            return stack.pop()
        if name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[cast("int", argument)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[cast("int", argument)])
        elif name in _VALUES:
            stack.append(argument)
        elif name not in ("PROTO", "FRAME"):
            _put_together(name, argument, stack)
    raise EOFError


def _put_together(opcode: str, argument: object, stack: list[Any]) -> None:
    """Follow an opcode that makes something of what is on the stack."""
    if opcode in _CONSTANTS:
        stack.append(_CONSTANTS[opcode])
    elif opcode in _TUPLES:
        stack.append(tuple(_popped(stack, _TUPLES[opcode])))
    elif opcode == "MARK":
        stack.append(_MARK)
    elif opcode == "TUPLE":
        stack.append(tuple(_popped_to_mark(stack)))
    elif opcode in ("EMPTY_DICT", "EMPTY_LIST"):
        stack.append({} if opcode == "EMPTY_DICT" else [])
    elif opcode in ("SETITEM", "SETITEMS"):
        pairs = _popped(stack, 2) if opcode == "SETITEM" else _popped_to_mark(stack)
        _set_items(stack[-1], pairs)
    elif opcode in ("APPEND", "APPENDS"):
        items = _popped(stack, 1) if opcode == "APPEND" else _popped_to_mark(stack)
        stack[-1].extend(items)
    elif opcode in ("GLOBAL", "STACK_GLOBAL"):
        parts = str(argument).split(" ") if opcode == "GLOBAL" else _popped(stack, 2)
        stack.append(_named(".".join(parts)))
    elif opcode == "REDUCE":
        named, arguments = _popped(stack, 2)
        stack.append(_STAND_INS[named.name](*arguments))
    elif opcode == "BUILD":
        (state,) = _popped(stack, 1)
        stack[-1].build(state)
    else:
        raise ValueError(f"opcode {opcode}, which numbers by names have no use for")


def _named(name: str) -> _Named:
    if name not in _STAND_INS:
        raise ValueError(f"the pickle names {name}, and to load it would run it")
    return _Named(name)


def _set_items(target: dict[str, object], pairs: list[object]) -> None:
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if not isinstance(key, str):
            raise ValueError("no dictionary by names")  # noqa: TRY004 - the file's fault and not a caller's
        target[key] = value


def _popped(stack: list[Any], count: int) -> list[Any]:
    if count > len(stack):
        raise IndexError
    start = len(stack) - count
    items, stack[start:] = stack[start:], []
    return items


def _popped_to_mark(stack: list[Any]) -> list[Any]:
    marks = [number for number, item in enumerate(stack) if item is _MARK]
    count = len(stack) - marks[-1] - 1
    items = _popped(stack, count)
    stack.pop()
    return items
