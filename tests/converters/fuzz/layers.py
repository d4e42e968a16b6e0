"""What networks are made of: convolutions, pools, normalizations, attention, rotary positions, shapes of
passes."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
from fuzz.operation import Choice, Operation, Unfit


def _picture(d: Any, spatial: int) -> Any:
    """A value (batch, …, channels) whose channels are known."""
    return d.value("float", check=lambda v: v.rank == spatial + 2 and v.shape[-1] and not v.empty)


def _choose_convolution(spatial: int, transposed: bool = False) -> Any:
    def choose(d: Any) -> Choice:
        x = _picture(d, spatial)
        groups = d.choice([g for g in (1, 2, x.shape[-1]) if x.shape[-1] % g == 0]) if not transposed else 1
        kernel = tuple(d.integer(1, 3) for _ in range(spatial))
        attrs: dict[str, Any] = {
            "stride": tuple(d.choice((1, 1, 2)) for _ in kernel),
            "padding": tuple(d.integer(0, 2) for _ in kernel),
            "dilation": tuple(d.choice((1, 1, 2)) for _ in kernel),
            "groups": groups,
        }
        weight = d.constant((groups * d.integer(1, 3), *kernel, x.shape[-1] // groups), x.dtype)
        if transposed:
            attrs["output_padding"] = tuple(d.integer(0, s - 1) for s in attrs["stride"])
        return (x, weight), {k: v[0] if spatial == 1 and k != "groups" else v for k, v in attrs.items()}

    return choose


def _convolution(op: Any) -> Any:
    """The operation where the kernel is not larger than the picture: MLX computes something there."""

    def compute(
        x: mx.array, weight: mx.array, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> mx.array:
        kernel = weight.shape[1:-1]
        pads, steps = ((v,) * len(kernel) if isinstance(v, int) else v for v in (padding, dilation))
        axes = zip(x.shape[1:], kernel, pads, steps, strict=False)
        if any(size + 2 * pad <= (k - 1) * step for size, k, pad, step in axes):
            raise Unfit
        return op(x, weight, stride, padding, dilation, groups)

    return compute


def _choose_pool(d: Any) -> Choice:
    spatial = d.choice((2, 1, 3))
    x = _picture(d, spatial)
    kind = d.choice(("MaxPool", "AvgPool"))
    kernel = d.integer(1, 3)
    return (x,), {
        "layer": f"{kind}{spatial}d",
        "kernel": kernel,
        "stride": d.choice((None, 1, 2)),
        "padding": d.integer(0, kernel // 2),
    }


def _pool(x: mx.array, layer: str, kernel: int, stride: int | None, padding: int) -> mx.array:
    return getattr(nn, layer)(kernel, stride, padding)(x)


def _choose_upsample(d: Any) -> Choice:
    x = _picture(d, 2)
    return (x,), {"scale": d.choice((2.0, 3.0)), "mode": d.choice(("nearest", "linear")), "corners": d.flag()}


def _upsample(x: mx.array, scale: float, mode: str, corners: bool) -> mx.array:
    return nn.Upsample(scale, mode, align_corners=corners)(x)


def _has_flat_row(value: Any) -> bool:
    """Whether all elements of a row are equal: what a norm makes of it is rounding errors over each other."""
    rows = [array.astype(mx.float32) for array in value.clean if array.size]
    return any(bool(mx.any(mx.max(row, -1) == mx.min(row, -1))) for row in rows)


def _choose_norm(d: Any, bias: bool = True) -> Choice:
    x = d.value(
        "float", rank=1, check=lambda v: v.shape[-1] not in (0, 1) and not (bias and _has_flat_row(v))
    )
    size = x.shape[-1]
    weights = [] if size is None or d.flag(3) else [d.constant((size,), x.dtype) for _ in range(1 + bias)]
    return (x, *weights), {}


def _layer_norm(x: mx.array, weight: mx.array | None = None, bias: mx.array | None = None) -> mx.array:
    return mx.fast.layer_norm(x, weight, bias, 1e-3)


def _layer_norm_by_hand(
    x: mx.array, weight: mx.array | None = None, bias: mx.array | None = None
) -> mx.array:
    centred = x - x.mean(-1, keepdims=True)
    y = centred * mx.rsqrt(mx.mean(mx.square(centred), -1, keepdims=True) + 1e-3)
    return y if weight is None or bias is None else y * weight + bias


def _rms_norm(x: mx.array, weight: mx.array | None = None) -> mx.array:
    return mx.fast.rms_norm(x, weight, 1e-3)


def _choose_group_norm(d: Any) -> Choice:
    x = d.value("float", rank=2, check=lambda v: v.shape[-1] and not v.empty)
    groups = d.choice([g for g in (1, 2, 3, 4, x.shape[-1]) if x.shape[-1] % g == 0])
    return (x,), {"groups": groups, "torch": d.flag()}


def _group_norm(x: mx.array, groups: int, torch: bool) -> mx.array:
    return nn.GroupNorm(groups, x.shape[-1], eps=1e-2, affine=False, pytorch_compatible=torch)(x)


def _choose_batch_norm(d: Any) -> Choice:
    x = d.value("float", rank=2, check=lambda v: v.shape[-1])
    positive = [d.constant((x.shape[-1],), x.dtype, "positive") for _ in range(2)]
    return (x, *positive, *(d.constant((x.shape[-1],), x.dtype) for _ in range(2))), {}


def _batch_norm(x: mx.array, var: mx.array, weight: mx.array, mean: mx.array, bias: mx.array) -> mx.array:
    return (x - mean) * mx.rsqrt(var + 1e-5) * weight + bias


def _choose_attention(d: Any) -> Choice:
    """Queries, keys and values (batch, heads, length, width) of one value, and a mask that broadcasts."""
    x = d.value("float", check=lambda v: v.rank == 4 and not v.empty)
    return (x,), {"mask": d.choice((None, "causal", "bool", "add")), "scale": d.choice((0.5, 0.125))}


def _attention(x: mx.array, mask: str | None, scale: float) -> mx.array:
    length = x.shape[-2]
    rows, columns = mx.arange(length)[:, None], mx.arange(length)[None]
    masks = {
        "bool": columns <= rows + 1,
        "add": mx.where(columns <= rows, 0.0, -1e4).astype(x.dtype),
        "causal": "causal",
    }
    return mx.fast.scaled_dot_product_attention(
        x, mx.flip(x, -1), x * 0.5, scale=scale, mask=masks.get(mask or "")
    )


def _attention_by_hand(x: mx.array, mask: str | None, scale: float) -> mx.array:
    scores = (x * scale) @ x.swapaxes(-1, -2)
    if mask:
        scores = scores + nn.MultiHeadAttention.create_additive_causal_mask(x.shape[-2], x.dtype)
    return mx.softmax(scores, axis=-1) @ x


def _choose_rope(d: Any) -> Choice:
    x = d.value("float", check=lambda v: v.rank in (3, 4) and v.shape[-1] and v.shape[-1] > 1 and not v.empty)
    dims = 2 * d.integer(1, x.shape[-1] // 2)
    return (x,), {"dims": dims, "traditional": d.flag(), "offset": d.integer(0, 3)}


def _rope(x: mx.array, dims: int, traditional: bool, offset: int) -> mx.array:
    return mx.fast.rope(x, dims, traditional=traditional, base=100.0, scale=1.0, offset=offset)


def _choose_heads(d: Any) -> Choice:
    """(batch, length, width) to heads and back, through something that mixes."""
    x = d.value("float", check=lambda v: v.rank == 3 and v.shape[-1] and not v.empty)
    heads = d.choice([h for h in (1, 2, 4) if x.shape[-1] % h == 0])
    weight = d.constant((3 * x.shape[-1], x.shape[-1]), x.dtype)
    return (x, weight), {"heads": heads}


def _heads(x: mx.array, weight: mx.array, heads: int) -> mx.array:
    batch, length, width = x.shape
    q, k, v = (
        part.reshape(batch, length, heads, -1).transpose(0, 2, 1, 3)
        for part in mx.split(0.1 * (x @ weight.T), 3, axis=-1)
    )
    y = mx.fast.scaled_dot_product_attention(q, k, v, scale=(width // heads) ** -0.5)
    return y.transpose(0, 2, 1, 3).reshape(batch, length, width)


def _choose_embedding(d: Any) -> Choice:
    where = d.value("integer", check=lambda v: v.rank <= 3)
    return (where, d.constant((d.integer(1, 5), d.integer(1, 4)), d.choice(("float32", "float16")))), {}


def _embedding(where: mx.array, table: mx.array) -> mx.array:
    return table[mx.remainder(where, mx.array(table.shape[0], where.dtype))]


def _choose_glu(d: Any) -> Choice:
    x = d.value("float", rank=1, check=lambda v: v.shape[-1] and v.shape[-1] % 2 == 0)
    return (x,), {}


LAYERS: dict[str, Operation] = {
    "conv1d": Operation(_convolution(mx.conv1d), _choose_convolution(1)),
    "conv2d": Operation(_convolution(mx.conv2d), _choose_convolution(2)),
    "conv3d": Operation(_convolution(mx.conv3d), _choose_convolution(3)),
    "conv_transpose1d": Operation(mx.conv_transpose1d, _choose_convolution(1, True)),
    "conv_transpose2d": Operation(mx.conv_transpose2d, _choose_convolution(2, True)),
    "pool": Operation(_pool, _choose_pool),
    "upsample": Operation(_upsample, _choose_upsample),
    "layer_norm": Operation(_layer_norm, _choose_norm),
    "layer_norm_by_hand": Operation(_layer_norm_by_hand, _choose_norm),
    "rms_norm": Operation(_rms_norm, lambda d: _choose_norm(d, bias=False)),
    "group_norm": Operation(_group_norm, _choose_group_norm),
    "batch_norm": Operation(_batch_norm, _choose_batch_norm),
    "attention": Operation(_attention, _choose_attention, inside=True),
    "attention_by_hand": Operation(_attention_by_hand, _choose_attention, inside=True),
    "rope": Operation(_rope, _choose_rope),
    "heads": Operation(_heads, _choose_heads, inside=True),
    "embedding": Operation(_embedding, _choose_embedding, "moves"),
    "glu": Operation(nn.glu, _choose_glu),
}

__all__ = ["LAYERS", "Unfit"]
