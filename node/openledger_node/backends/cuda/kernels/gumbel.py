"""The noise that draws a token: numpy's Philox to the bit, and its Gumbel numbers in float32."""

import triton
import triton.language as tl


@triton.jit
def draws_of(seed, position, blocks):
    """Four draws of 64 bits a block of four token ids, as numpy's Philox, which counts up before it draws."""
    zero = tl.zeros_like(blocks).to(tl.uint64)
    return tl.philox(seed.to(tl.uint64), (blocks + 1).to(tl.uint64), zero + position.to(tl.uint64), zero, zero)


@triton.jit
def noise_of(draws):
    """Gumbel noise −log(−log u) within 1e-5 of the sampler's float64, for each of its rounded numbers u."""
    counts = (draws >> 11).to(tl.int64)  # u is counts + ½, over 2^53
    # What u lacks to 1: u is rounded to even there, and kept below 1.
    rests = tl.maximum((1 << 53) - counts - (counts & 1), 1).to(tl.float32) * (2.0**-53)
    uniform = (counts.to(tl.float32) + 0.5) * (2.0**-53)
    # A logarithm near 1 has an error as large as itself, so there the series of −log(1 − rest) is summed.
    series = 1 / 7 + rests * 0.0
    series = series * rests + 1 / 6
    series = series * rests + 1 / 5
    series = series * rests + 1 / 4
    series = series * rests + 1 / 3
    series = series * rests + 1 / 2
    series = (series * rests + 1) * rests
    return -tl.log(tl.where(rests < 0.125, series, -tl.log(uniform)))
