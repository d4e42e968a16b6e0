"""A call of every forward function of `mlx.core`, `mx.fast`, `mx.linalg`, `mx.fft` and `mx.random`, and for
what is not among them the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
from case_table import Arg, Case

X, Y = Arg((3, 4)), Arg((3, 4))
ROW, SQUARE, CUBE = Arg((6,)), Arg((4, 4)), Arg((2, 3, 4))
UNIT, POSITIVE, ABOVE_ONE = (
    Arg((3, 4), values=(-0.9, 0.9)),
    Arg((3, 4), values=(0.1, 5)),
    Arg((3, 4), values=(1, 5)),
)
WHOLE, SHIFT = Arg((3, 4), "int32"), Arg((3, 4), "int32", (0, 5))
FLAG = Arg((3, 4), "bool")
PLACES = Arg((2,), "int32", [2, 0])
KEY = Arg((2,), "uint32", [7, 11])
WEIGHT = mx.random.normal((8, 64), key=mx.random.key(0))
CODES = mx.quantize(WEIGHT, group_size=32, bits=4)

Call = tuple[Callable[..., Any], tuple[Arg, ...]]


def _named(name: str, **more: Any) -> Callable[..., Any]:
    """The function as it is called when the call runs: some are replaced while a function is traced."""
    return lambda *arrays: getattr(mx, name)(*arrays, **more)


def _plain(names: str, *args: Arg) -> dict[str, Call]:
    """Functions called with nothing but arrays."""
    return {name: (_named(name), args) for name in names.split()}


def _called(**calls: tuple[Any, ...]) -> dict[str, Call]:
    return {name: (call[0], call[1:]) for name, call in calls.items()}


def _axis(names: str, *args: Arg, **more: Any) -> dict[str, Call]:
    return {name: (_named(name, **more), args) for name in names.split()}


CORE: dict[str, Call] = {
    **_plain("abs ceil floor negative positive sign square round trunc stop_gradient", X),
    **_plain("exp expm1 sin cos tan sinh cosh tanh arctan atan arcsinh asinh erf sigmoid degrees radians", X),
    **_plain("acos arccos asin arcsin atanh arctanh erfinv", UNIT),
    **_plain("log log10 log1p log2 rsqrt sqrt reciprocal", POSITIVE),
    **_plain("acosh arccosh", ABOVE_ONE),
    **_plain(
        "add subtract multiply divide maximum minimum arctan2 atan2 logaddexp floor_divide remainder divmod",
        X,
        Y,
    ),
    **_plain("power pow", POSITIVE, Y),
    **_plain("equal not_equal less less_equal greater greater_equal isclose allclose array_equal", X, Y),
    **_plain("isfinite isinf isnan isneginf isposinf nan_to_num", X),
    **_plain("logical_and logical_or logical_xor", FLAG, FLAG),
    **_plain("logical_not", FLAG),
    **_plain("bitwise_and bitwise_or bitwise_xor", WHOLE, WHOLE),
    **_plain("bitwise_invert", WHOLE),
    **_plain("bitwise_left_shift bitwise_right_shift left_shift right_shift", WHOLE, SHIFT),
    **_axis("sum mean prod max min minmax var std all any logsumexp softmax argmax argmin median", X, axis=1),
    **_axis("count_nonzero", WHOLE, axis=1),
    **_axis("cumsum cumprod cummax cummin cumulative_sum cumulative_prod logcumsumexp", X, axis=1),
    **_axis("sort argsort flip", X, axis=1),
    **_axis("topk", X, k=2, axis=1),
    **_plain("matmul", X, SQUARE),
    **_plain("inner outer kron", ROW, ROW),
    **_axis("vecdot", X, Y, axis=1),
    **_plain("transpose permute_dims matrix_transpose flatten contiguous ones_like zeros_like", CUBE),
    **_plain("atleast_1d atleast_2d atleast_3d diag", ROW),
    **_plain("conj conjugate real imag", X),
    **_plain("diagonal trace tril triu", SQUARE),
    **_called(
        addmm=(mx.addmm, X, X, SQUARE),
        arange=(lambda x: x + mx.arange(x.shape[1]), X),
        partition=(lambda x: mx.partition(x, 2, axis=1)[:, 2], X),
        argpartition=(lambda x: mx.argpartition(x, 2, axis=1)[:, 2], X),
        empty_like=(lambda x: mx.zeros_like(mx.empty_like(x)), X),
        as_strided=(lambda x: mx.as_strided(x, (3, 2), (1, 1)), ROW),
        asarray=(lambda x: mx.asarray(x) + 1, X),
        astype=(lambda x: mx.astype(x, mx.int32), X),
        bartlett=(lambda x: x * mx.bartlett(4), X),
        blackman=(lambda x: x * mx.blackman(4), X),
        block_masked_mm=(lambda a, b: mx.block_masked_mm(a, b, 32), Arg((64, 64)), Arg((64, 64))),
        broadcast_arrays=(lambda x, y: list(mx.broadcast_arrays(x, y)), X, Arg((4,))),
        broadcast_to=(lambda x: mx.broadcast_to(x, (2, 3, 4)), X),
        checkpoint=(lambda x: mx.checkpoint(mx.square)(x), X),
        clip=(lambda x: mx.clip(x, -0.5, 0.5), X),
        compile=(lambda x: mx.compile(mx.square)(x), X),
        concat=(lambda x, y: mx.concat([x, y], axis=1), X, Y),
        concatenate=(lambda x, y: mx.concatenate([x, y], axis=0), X, Y),
        conv1d=(mx.conv1d, Arg((2, 9, 3)), Arg((5, 3, 3))),
        conv2d=(mx.conv2d, Arg((2, 9, 8, 3)), Arg((5, 3, 3, 3))),
        conv3d=(mx.conv3d, Arg((1, 5, 6, 7, 2)), Arg((3, 2, 2, 2, 2))),
        conv_general=(
            lambda x, w: mx.conv_general(x, w, stride=2, padding=1),
            Arg((2, 9, 8, 3)),
            Arg((5, 3, 3, 3)),
        ),
        conv_transpose1d=(lambda x: mx.conv_transpose1d(x, W1, stride=2), Arg((2, 5, 3))),
        conv_transpose2d=(lambda x: mx.conv_transpose2d(x, W2, stride=2), Arg((2, 5, 4, 3))),
        conv_transpose3d=(lambda x: mx.conv_transpose3d(x, W3, stride=2), Arg((1, 3, 4, 3, 3))),
        convolve=(lambda x, y: mx.convolve(x, y), ROW, Arg((3,))),
        depends=(lambda x, y: mx.depends(x, y), X, Y),
        dequantize=(lambda x: x + mx.dequantize(*CODES, group_size=32, bits=4)[:3, :4], X),
        diff=(lambda x: mx.diff(x, axis=1), X),
        einsum=(lambda x, y: mx.einsum("ij,kj->ik", x, y), X, Y),
        empty=(lambda x: mx.zeros_like(mx.empty((3, 4))) * x, X),
        expand_dims=(lambda x: mx.expand_dims(x, 1), X),
        eye=(lambda x: x * mx.eye(4), SQUARE),
        full=(lambda x: x + mx.full((3, 4), 2.0), X),
        full_like=(lambda x: mx.full_like(x, 2.0), X),
        gather_mm=(lambda x, y, i: mx.gather_mm(x, y, rhs_indices=i), Arg((2, 3, 4)), Arg((3, 4, 5)), PLACES),
        gather_qmm=(
            lambda x, i: mx.gather_qmm(x, *EXPERTS, rhs_indices=i, group_size=32, bits=4),
            Arg((2, 3, 64)),
            PLACES,
        ),
        hadamard_transform=(mx.hadamard_transform, Arg((3, 8))),
        hamming=(lambda x: x * mx.hamming(4), X),
        hanning=(lambda x: x * mx.hanning(4), X),
        identity=(lambda x: x @ mx.identity(4), SQUARE),
        linspace=(lambda x: x * mx.linspace(0, 1, 4), X),
        matrix_norm=(lambda x: mx.matrix_norm(x), X),
        meshgrid=(lambda x, y: list(mx.meshgrid(x, y)), ROW, Arg((3,))),
        moveaxis=(lambda x: mx.moveaxis(x, 0, 2), CUBE),
        ones=(lambda x: x + mx.ones((3, 4)), X),
        pad=(lambda x: mx.pad(x, [(1, 2), (0, 3)]), X),
        put_along_axis=(
            lambda x, i: mx.put_along_axis(x, i, mx.array(9.0), axis=1),
            X,
            Arg((3, 2), "int32", (0, 4)),
        ),
        quantized_matmul=(lambda x: mx.quantized_matmul(x, *CODES, group_size=32, bits=4), Arg((3, 64))),
        repeat=(lambda x: mx.repeat(x, 2, 1), X),
        reshape=(lambda x: mx.reshape(x, (2, 6)), X),
        roll=(lambda x: mx.roll(x, 1, 1), X),
        searchsorted=(lambda x, v: mx.searchsorted(mx.sort(x), v), ROW, X),
        segmented_mm=(lambda x: mx.segmented_mm(x, x.T, mx.array([[0, 2], [1, 4]], mx.uint32)), X),
        slice=(lambda x, i: mx.slice(x, i, (1,), (3, 2)), X, Arg((1,), "int32", [1])),
        slice_update=(
            lambda x, y, i: mx.slice_update(x, y, i, (1,)),
            X,
            Arg((3, 2)),
            Arg((1,), "int32", [1]),
        ),
        split=(lambda x: mx.split(x, 2, axis=1), X),
        squeeze=(lambda x: mx.squeeze(x, 1), Arg((3, 1, 4))),
        stack=(lambda x, y: mx.stack([x, y], axis=1), X, Y),
        swapaxes=(lambda x: mx.swapaxes(x, 0, 2), CUBE),
        take=(lambda x, i: mx.take(x, i, axis=0), X, PLACES),
        take_along_axis=(lambda x, i: mx.take_along_axis(x, i, axis=1), X, Arg((3, 2), "int32", (0, 4))),
        tensordot=(lambda x, y: mx.tensordot(x, y, axes=1), X, SQUARE),
        tile=(lambda x: mx.tile(x, (2, 3)), X),
        tri=(lambda x: x * mx.tri(4), SQUARE),
        unflatten=(lambda x: mx.unflatten(x, 1, (2, 2)), X),
        unstack=(lambda x: list(mx.unstack(x)), X),
        view=(lambda x: mx.view(x, mx.uint32), WHOLE),
        vmap=(lambda x: mx.vmap(lambda row: row * row.sum())(x), X),
        where=(mx.where, FLAG, X, Y),
        zeros=(lambda x: x + mx.zeros((3, 4)), X),
    ),
}
W1, W2, W3 = (mx.random.normal((5, *(3,) * n, 3), key=mx.random.key(n)) for n in (1, 2, 3))
EXPERTS = mx.quantize(mx.random.normal((3, 64, 64), key=mx.random.key(5)), group_size=32, bits=4)
mx.eval(CODES, W1, W2, W3, EXPERTS)
HEADS = Arg((1, 2, 5, 8))
FAST: dict[str, Call] = _called(
    layer_norm=(lambda x: mx.fast.layer_norm(x, None, None, 1e-5), X),
    rms_norm=(lambda x: mx.fast.rms_norm(x, None, 1e-5), X),
    rope=(lambda x: mx.fast.rope(x, 8, traditional=False, base=1e4, scale=1.0, offset=3), HEADS),
    scaled_dot_product_attention=(
        lambda q, k, v: mx.fast.scaled_dot_product_attention(q, k, v, scale=0.4),
        HEADS,
        HEADS,
        HEADS,
    ),
    cross_entropy=(lambda x, i: mx.fast.cross_entropy(x, i), X, Arg((3,), "int32", [1, 3, 0])),
)
LINALG: dict[str, Call] = _called(
    norm=(lambda x: mx.linalg.norm(x, axis=1), X),
    cross=(lambda x, y: mx.linalg.cross(x, y), Arg((4, 3)), Arg((4, 3))),
)
RANDOM: dict[str, Call] = _called(
    bernoulli=(lambda k: mx.random.bernoulli(0.5, (4,), key=k), KEY),
    categorical=(lambda k, x: mx.random.categorical(x, key=k), KEY, X),
    gumbel=(lambda k: mx.random.gumbel((4,), key=k), KEY),
    laplace=(lambda k: mx.random.laplace((4,), key=k), KEY),
    normal=(lambda k: mx.random.normal((4,), key=k), KEY),
    permutation=(lambda k, x: mx.random.permutation(x, key=k), KEY, ROW),
    randint=(lambda k: mx.random.randint(0, 9, (4,), key=k), KEY),
    split=(lambda k: mx.random.split(k), KEY),
    truncated_normal=(lambda k: mx.random.truncated_normal(-1, 1, (4,), key=k), KEY),
    uniform=(lambda k: mx.random.uniform(shape=(4,), key=k), KEY),
)
FFT: dict[str, Call] = _called(
    fftfreq=(lambda x: x * mx.fft.fftfreq(4), X),
    rfftfreq=(lambda x: x[:, :3] * mx.fft.rfftfreq(4), X),
    fftshift=(lambda x: mx.fft.fftshift(x), X),
    ifftshift=(lambda x: mx.fft.ifftshift(x), X),
    fft=(lambda x: mx.abs(mx.fft.fft(x)), X),
    fft2=(lambda x: mx.real(mx.fft.fft2(x)), X),
    fftn=(lambda x: mx.imag(mx.fft.fftn(x)), X),
    ifft=(lambda x: mx.real(mx.fft.ifft(x)), X),
    ifft2=(lambda x: mx.abs(mx.fft.ifft2(x)), X),
    ifftn=(lambda x: mx.imag(mx.fft.ifftn(x)), X),
    rfft=(lambda x: mx.abs(mx.fft.rfft(x)), X),
    rfft2=(lambda x: mx.real(mx.fft.rfft2(x)), X),
    rfftn=(lambda x: mx.imag(mx.fft.rfftn(x)), X),
    irfft=(lambda x: mx.fft.irfft(x * 1j), X),
    irfft2=(lambda x: mx.fft.irfft2(x), X),
    irfftn=(lambda x: mx.fft.irfftn(x), X),
    stft=(lambda x: mx.abs(mx.fft.stft(x, n_fft=4)), ROW),
    istft=(lambda x: mx.fft.istft(mx.fft.stft(x, n_fft=4), n_fft=4), ROW),
)
SPACES = {"mx": CORE, "mx.fast": FAST, "mx.linalg": LINALG, "mx.random": RANDOM, "mx.fft": FFT}


def _because(reason: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), reason)


ABSENT: dict[str, dict[str, str]] = {
    "mx": {
        **_because("trains or transforms a function", "grad value_and_grad jvp vjp"),
        **_because(
            "traces or evaluates", "async_eval eval export_function export_to_dot exporter import_function"
        ),
        **_because(
            "sets or tells something of the process",
            "clear_cache clear_streams default_device default_stream",
        ),
        **_because(
            "sets or tells something of the process",
            "device_count device_info disable_compile enable_compile",
        ),
        **_because(
            "sets or tells something of the process",
            "get_active_memory get_array_buffer_size get_cache_memory",
        ),
        **_because(
            "sets or tells something of the process",
            "get_memory_limit get_peak_memory get_printoptions stream",
        ),
        **_because(
            "sets or tells something of the process", "is_available new_stream new_thread_local_stream"
        ),
        **_because(
            "sets or tells something of the process", "new_thread_unsafe_stream printoptions set_printoptions"
        ),
        **_because(
            "sets or tells something of the process", "reset_peak_memory set_cache_limit set_default_device"
        ),
        **_because(
            "sets or tells something of the process", "set_default_stream set_memory_limit set_wired_limit"
        ),
        **_because("sets or tells something of the process", "synchronize"),
        **_because("reads or writes files", "load save save_gguf save_safetensors savez savez_compressed"),
        **_because(
            "asks about shapes or types",
            "broadcast_shapes can_cast einsum_path isdtype issubdtype result_type",
        ),
        **_because("brings arrays from elsewhere", "from_dlpack"),
        **_because("8-bit floating point, which neither format computes with", "from_fp8 to_fp8"),
        **_because("quantises activations in a format of its own", "qqmm gather_qqmm"),
        **_because("quantises while the model runs; weights are quantised before", "quantize"),
        **_because("the size of its result depends on values", "unique"),
    },
    "mx.fast": {
        **_because("a kernel written for one device", "cuda_kernel metal_kernel precompiled_cuda_kernel"),
        **_because("runs on Metal only", "gated_delta_update"),
    },
    "mx.linalg": _because(
        "a decomposition, which neither format has",
        "cholesky cholesky_inv det eig eigh eigvals eigvalsh inv lu lu_factor pinv qr slogdet solve "
        "solve_triangular svd tri_inv",
    ),
    "mx.random": {
        **_because("makes a key: pass one as an input", "key seed"),
        **_because("a decomposition, which neither format has", "multivariate_normal"),
    },
    "mx.fft": {},
}
ROWS = {
    f"{space}.{name}": Case(f"{space}.{name}", (), fn, args)
    for space, calls in SPACES.items()
    for name, (fn, args) in calls.items()
}
