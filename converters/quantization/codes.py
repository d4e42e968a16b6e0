"""Numbers to codes: 8 bits a channel, 4 bits a block, palettes. Letters: N rows, K elements of a row."""

from __future__ import annotations

import numpy as np

from converters.ops.quantized import packed

INT8_LARGEST = 127
SHRINKS = (1.0, 0.96, 0.92, 0.88, 0.84, 0.8, 0.74)  # of a block's range, tried in turn
CHUNK = 1 << 22  # elements that are worked on at a time
PALETTE_BINS = 1 << 14
DENSITY_BINS = 64
PALETTE_ROUNDS = 40


def channel_codes(weight: np.ndarray, paired: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric 8-bit codes (N, K), and the scale (N,) of each row; value = scale * code.

    Paired, for arithmetic in integers, the scale is such that two neighbours 2j and 2j + 1 never add up
    beyond 128: x86 processors without VNNI multiply 255 by both and add in 16 bits, which saturate
    (`vpmaddubsw` in Intel's manual; onnxruntime's documentation calls it reduce_range, and takes one bit from
    every weight for it). It costs up to a bit. Where weights are unpacked before they are multiplied, the
    scale is the largest of its row by 127.
    """
    rows = weight.reshape(len(weight), -1).astype(np.float32)
    if not paired:
        scales = np.abs(rows).max(axis=-1, initial=0) / INT8_LARGEST
        return _in_steps(weight, rows, scales)
    even = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2))).reshape(len(rows), -1, 2)
    sums = [np.maximum(side * even, 0).sum(axis=-1).max(axis=-1, initial=0) for side in (1, -1)]
    return _in_steps(weight, rows, np.maximum(*sums) / INT8_LARGEST)


def _in_steps(weight: np.ndarray, rows: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scales = steps.astype(np.float32)
    safe = np.where(scales > 0, scales, 1)[:, None]
    codes = np.clip(np.rint(rows / safe), -INT8_LARGEST, INT8_LARGEST).astype(np.int8)
    return codes.reshape(weight.shape), scales


def block_codes(weight: np.ndarray, group: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """4-bit codes of a matrix (N, K) as MLX packs them, scales and biases (N, K / group).

    A block's range is shrunk where that lowers its squared error (as in the search of HQQ and of AWQ's
    clipping, Lin et al. 2023, section 3.2, without data); bias = -scale * zero with a whole zero, so that
    every format takes it.
    """
    parts = [_blocks(rows, group) for rows in _chunks(weight)]
    words, scales, biases = (np.concatenate(column) for column in zip(*parts, strict=True))
    return words, scales, biases


def _chunks(weight: np.ndarray) -> list[np.ndarray]:
    rows = max(1, CHUNK // max(1, weight.shape[1]))
    return [weight[start : start + rows] for start in range(0, len(weight), rows)]


def _blocks(weight: np.ndarray, group: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    blocks = weight.astype(np.float32).reshape(len(weight), -1, group)
    low, high = np.minimum(blocks.min(-1, keepdims=True), 0), np.maximum(blocks.max(-1, keepdims=True), 0)
    best = np.full(low.shape, np.inf, np.float32)
    scales, zeros, codes = np.ones_like(low), np.zeros_like(low), np.zeros(blocks.shape, np.uint8)
    for shrink in SHRINKS:
        scale = shrink * (high - low) / 15
        scale = np.where(scale > 0, scale, 1).astype(np.float32)
        zero = np.clip(np.rint(-shrink * low / scale), 0, 15)
        tried = np.clip(np.rint(blocks / scale) + zero, 0, 15)
        error = np.square((tried - zero) * scale - blocks).sum(-1, keepdims=True)
        better = error < best
        best, scales, zeros = (
            np.where(better, new, old) for new, old in ((error, best), (scale, scales), (zero, zeros))
        )
        codes = np.where(better, tried.astype(np.uint8), codes)
    biases = -(scales * zeros)
    return packed(codes.reshape(weight.shape), 4), scales[..., 0], biases[..., 0]


def palette(weight: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the weight's shape into 2**bits numbers, placed by k-means (Lloyd 1982; Han et al. 2015,
    "Deep Compression", section 3) over a histogram of the weight; they start as dense as the cube root of the
    weights' density (Panter and Dite 1951)."""
    flat = weight.reshape(-1).astype(np.float32)
    low, high = float(flat.min(initial=0)), float(flat.max(initial=0))
    span = (low, high if high > low else low + 1)
    counts, edges = np.histogram(flat, PALETTE_BINS, span)
    middles = (edges[1:] + edges[:-1]) / 2
    coarse, places = np.histogram(flat, DENSITY_BINS, span)
    total = np.concatenate([[0], np.cumsum(np.cbrt(coarse))])
    centres = np.interp((np.arange(2**bits) + 0.5) / 2**bits * total[-1], total, places)
    for _ in range(PALETTE_ROUNDS):
        owner = np.searchsorted((centres[1:] + centres[:-1]) / 2, middles)
        weights = np.bincount(owner, counts, 2**bits)
        sums = np.bincount(owner, counts * middles, 2**bits)
        moved = np.sort(np.where(weights > 0, sums / np.maximum(weights, 1), centres))
        if np.allclose(moved, centres, rtol=0, atol=1e-7 * max(high - low, 1e-30)):
            break
        centres = moved
    table = centres.astype(np.float32)
    indices = np.searchsorted((table[1:] + table[:-1]) / 2, flat).astype(np.uint8)
    return indices.reshape(weight.shape), table.astype(weight.dtype)
