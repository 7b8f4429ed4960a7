"""Numbers of 8 or 4 bits in registers, as they are stored, into values of the serving format."""

import triton
import triton.language as tl


@triton.jit
def packed_words(
    words, rows, first, num_words, BITS: tl.constexpr, BLOCK_IN: tl.constexpr, IS_EVEN: tl.constexpr
) -> tl.tensor:
    """The words (rows, words) that hold BLOCK_IN columns."""
    at = first * BITS // 32 + tl.arange(0, BLOCK_IN * BITS // 32)
    places = words + rows[:, None] * num_words + at[None, :]
    if IS_EVEN:
        return tl.load(places)
    else:
        return tl.load(places, mask=(at < num_words)[None, :], other=0)


@triton.jit
def parts_of_runs(
    scale_codes, scales, minimum_codes, minima, zeros, rows, first, d_in, num_groups,
    GROUP: tl.constexpr, NEIGHBOURS: tl.constexpr, RUN: tl.constexpr, BLOCK_IN: tl.constexpr,
) -> tuple[tl.tensor, ...]:  # fmt: skip
    """The five parts as they are stored, each (rows, runs); behind the last column they are zeros."""
    begins = first + RUN * tl.arange(0, BLOCK_IN // RUN)
    inside = (begins < d_in)[None, :]
    groups = begins // GROUP if GROUP else begins * 0
    outer, num_outer = groups // NEIGHBOURS, num_groups // NEIGHBOURS
    return (
        _part(scale_codes, rows, groups, num_groups, inside),
        _part(scales, rows, outer, num_outer, inside),
        _part(minimum_codes, rows, groups, num_groups, inside),
        _part(minima, rows, outer, num_outer, inside),
        _part(zeros, rows, groups, num_groups, inside),
    )


@triton.jit
def _part(part, rows, groups, num_groups, inside):
    if part is None:
        return 0
    else:
        return tl.load(part + rows[:, None] * num_groups + groups[None, :], mask=inside, other=0)


@triton.jit
def widened(
    packed, parts, table, num_rows, HAS_SCALE_CODES: tl.constexpr, HAS_MINIMUM_CODES: tl.constexpr,
    HAS_MINIMA: tl.constexpr, HAS_ZEROS: tl.constexpr, BITS: tl.constexpr, IS_SIGNED: tl.constexpr,
    ZERO: tl.constexpr, RUN: tl.constexpr, FORMAT: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Packed words and the parts of their runs as values (rows, columns) in the serving format."""
    WORDS: tl.constexpr = RUN * BITS // 32  # of a run
    scale = parts[1].to(tl.float32)
    if HAS_SCALE_CODES:
        scale *= parts[0].to(tl.float32)
    scale = _for_words(scale, WORDS)
    minimum = None
    if HAS_MINIMA:
        minimum = parts[3].to(tl.float32)
        if HAS_MINIMUM_CODES:
            minimum *= parts[2].to(tl.float32)
        minimum = _for_words(minimum, WORDS)
    zero = None
    if HAS_ZEROS:
        zero = _for_words(parts[4].to(tl.float32), WORDS)
    # 2^23 in float32. The compiler must not know it, or it takes two instructions for "and" with "exclusive or".
    two_23 = 0x4B000000 + (num_rows >> 31)
    at0 = _value(packed, 0, two_23, scale, minimum, zero, table, BITS, IS_SIGNED, ZERO, FORMAT)
    at1 = _value(packed, 1, two_23, scale, minimum, zero, table, BITS, IS_SIGNED, ZERO, FORMAT)
    at2 = _value(packed, 2, two_23, scale, minimum, zero, table, BITS, IS_SIGNED, ZERO, FORMAT)
    at3 = _value(packed, 3, two_23, scale, minimum, zero, table, BITS, IS_SIGNED, ZERO, FORMAT)
    if BITS == 4:
        at4 = _value(packed, 4, two_23, scale, minimum, zero, table, BITS, IS_SIGNED, ZERO, FORMAT)
        at5 = _value(packed, 5, two_23, scale, minimum, zero, table, BITS, IS_SIGNED, ZERO, FORMAT)
        at6 = _value(packed, 6, two_23, scale, minimum, zero, table, BITS, IS_SIGNED, ZERO, FORMAT)
        at7 = _value(packed, 7, two_23, scale, minimum, zero, table, BITS, IS_SIGNED, ZERO, FORMAT)
        at0, at1 = tl.interleave(at0, at4), tl.interleave(at1, at5)
        at2, at3 = tl.interleave(at2, at6), tl.interleave(at3, at7)
    return tl.interleave(tl.interleave(at0, at2), tl.interleave(at1, at3))


@triton.jit
def _for_words(parts, TIMES: tl.constexpr):
    """The part of a run for each of its 1, 2, 4 or 8 words, in the registers of the thread that has it."""
    if TIMES >= 2:
        parts = tl.interleave(parts, parts)
    if TIMES >= 4:
        parts = tl.interleave(parts, parts)
    if TIMES >= 8:
        parts = tl.interleave(parts, parts)
    return parts


@triton.jit
def _value(
    packed, NUMBER: tl.constexpr, two_23, scale, minimum, zero, table,
    BITS: tl.constexpr, IS_SIGNED: tl.constexpr, ZERO: tl.constexpr, FORMAT: tl.constexpr,
):  # fmt: skip
    """The value of one number of each word.

    A conversion of integers takes four times as long as other operations, so a number becomes the last bits of 2^23,
    which is subtracted. It stays where it is in its half word, and the scale is smaller by as much, which is exact.
    """
    SHIFT: tl.constexpr = BITS * NUMBER % 16
    MASK: tl.constexpr = ((1 << BITS) - 1) << SHIFT
    SIGN: tl.constexpr = 128 << SHIFT if IS_SIGNED else 0
    MIDDLE: tl.constexpr = float(0x800000 + (ZERO << SHIFT) + SIGN)
    half = packed if BITS * NUMBER < 16 else packed >> 16
    if table is not None:
        value = tl.load(table + ((half & MASK) >> SHIFT)) * scale
    else:
        value = ((half & MASK) ^ (two_23 ^ SIGN)).to(tl.float32, bitcast=True)
        if zero is None:
            value -= MIDDLE
        else:
            value -= zero * float(1 << SHIFT) + MIDDLE
        value *= scale * (1.0 / (1 << SHIFT))
    if minimum is not None:
        value += minimum
    return value.to(FORMAT)
