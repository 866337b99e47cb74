"""The private part of json that the program uses, in this one module.

`JSONEncoder.encode` makes an encoder in C for each value, which takes longer than to encode a small one. Here it is
made once. `tests/core/test_json_private.py` fails when a new version of Python changes it.
"""

from __future__ import annotations

from collections.abc import Callable
from json import JSONEncoder, encoder
from typing import Any

_make: Any = vars(encoder).get("c_make_encoder")


def compiled(like: JSONEncoder) -> Callable[[Any], str]:
    """Return a function that encodes as `like.encode` does; the value holds no circle, and `like` does not indent."""
    if _make is None:  # a Python without the module in C
        return like.encode
    separators = like.key_separator, like.item_separator
    texts = encoder.encode_basestring_ascii if like.ensure_ascii else encoder.encode_basestring
    encode = _make(None, like.default, texts, None, *separators, like.sort_keys, like.skipkeys, like.allow_nan)
    return lambda value: "".join(encode(value, 0))
