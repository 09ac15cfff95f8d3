"""The suite's content hash (src/base/hash.h): XXH3, 128 bits, of texts.

By the algorithm's published definition, for inputs of more than 240 bytes: the one of its cases that canonical configurations fall into.
"""

import struct
from collections.abc import Iterable

SHORTEST = 241  # bytes
STRIPE, LANES = 64, 8
# The constants of the algorithm.
SECRET = bytes.fromhex("b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
                       "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
                       "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")
P32 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
AVALANCHE = 0x165667919E3779F9
WORD, HALF = (1 << 64) - 1, (1 << 32) - 1
STRIPES = (len(SECRET) - STRIPE) // 8  # of a block
KEYS = [struct.unpack_from("<8Q", SECRET, 8 * number) for number in range(STRIPES)]
LAST_KEY, SCRAMBLE_KEY = struct.unpack_from("<8Q", SECRET, len(SECRET) - STRIPE - 7), struct.unpack_from("<8Q", SECRET, len(SECRET) - STRIPE)


def add_stripe(sums: list[int], lanes: tuple[int, ...], key: tuple[int, ...]) -> None:
    for number in range(LANES):
        mixed = lanes[number] ^ key[number]
        sums[number ^ 1] = (sums[number ^ 1] + lanes[number]) & WORD
        sums[number] = (sums[number] + (mixed & HALF) * (mixed >> 32)) & WORD


def scramble(sums: list[int]) -> None:
    for number in range(LANES):
        mixed = sums[number] ^ sums[number] >> 47 ^ SCRAMBLE_KEY[number]
        sums[number] = mixed * P32[0] & WORD


def merge(sums: list[int], offset: int, start: int) -> int:
    key = struct.unpack_from("<8Q", SECRET, offset)
    result = start
    for number in range(0, LANES, 2):
        product = (sums[number] ^ key[number]) * (sums[number + 1] ^ key[number + 1])
        result += product & WORD ^ product >> 64
    result &= WORD
    result = (result ^ result >> 37) * AVALANCHE & WORD
    return result ^ result >> 32


def hash_bytes(content: bytes) -> str:
    """32 hexadecimal digits; "" for content that is shorter than this is made for."""
    if len(content) < SHORTEST:
        return ""
    sums = [P32[2], *P64[:4], P32[1], P64[4], P32[0]]
    for number in range((len(content) - 1) // STRIPE):
        add_stripe(sums, struct.unpack_from("<8Q", content, STRIPE * number), KEYS[number % STRIPES])
        if number % STRIPES == STRIPES - 1:
            scramble(sums)
    add_stripe(sums, struct.unpack_from("<8Q", content, len(content) - STRIPE), LAST_KEY)
    low = merge(sums, 11, len(content) * P64[0] & WORD)
    high = merge(sums, len(SECRET) - STRIPE - 11, ~(len(content) * P64[1]) & WORD)
    return f"{high:016x}{low:016x}"


def hash_texts(texts: Iterable[str]) -> str:
    """Each with its end mark, as the suite hashes texts."""
    return hash_bytes(b"".join(text.encode("utf-8", "surrogateescape") + b"\0" for text in texts))
