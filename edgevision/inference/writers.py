"""Language models of every form behind one call: a run or a folder of mlx-lm computes in MLX, an exported
folder in onnxruntime, a package in Core ML, our interpreter or Core AI."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.errors import UserError
from edgevision.inference.generation import Writer
from edgevision.inference.onnx_engine import engine
from edgevision.text.tokenizer import load_tokenizer

PACKAGES = (".mlpackage", ".aimodel")


def open_writer(path: Path) -> Writer:
    """A run, a folder with weights that we or mlx-lm can load, a folder that `edgevision export` or optimum
    wrote, an `.onnx` in one, or an `.mlpackage` or `.aimodel` beside its tokenizer.

    Raises:
        UserError: nothing of these is there, or it is no language model with a cache.
    """
    if not path.exists():
        raise UserError(f"{path} is not there", hint="train a model: edgevision train decoder_lm --out RUN")
    if path.suffix in PACKAGES:
        return _package(path)
    if path.suffix == ".onnx":
        return _onnx(path)
    if any(path.glob("model*.safetensors")):
        return _mlx(path)
    files = [
        path / "onnx" / "model.onnx",
        *sorted(path.glob("onnx/model*.onnx")),
        *sorted(path.glob("model*.onnx")),
    ]
    found = next((file for file in files if file.is_file()), None)
    if found is not None:
        return _onnx(found)
    package = next((found for ending in PACKAGES for found in sorted(path.glob(f"*{ending}"))), None)
    if package is not None:
        return _package(package)
    if (path / "training.json").is_file():
        raise UserError(f"the training in {path} is not finished", hint="go on with --resume")
    raise UserError(
        f"{path} holds no language model", hint="give a run, an export folder, .onnx, .mlpackage or .aimodel"
    )


def _mlx(path: Path) -> Writer:
    import mlx.core as mx

    from edgevision import pretrained

    loaded = pretrained.load(path)
    model: Any = loaded.model

    class MlxEngine:
        def __init__(self) -> None:
            if hasattr(model, "make_cache"):
                self.cache = model.make_cache()
            else:
                from mlx_lm.models.cache import make_prompt_cache

                self.cache = make_prompt_cache(model)

        def __call__(self, ids: Sequence[int]) -> np.ndarray:
            logits = model(mx.array([list(ids)]), cache=self.cache)[0, -1]
            return np.array(logits.astype(mx.float32))

    device = "Metal" if mx.default_device() == mx.Device(mx.gpu) else "CPU"
    runtime = f"MLX {version('mlx')} ({device})"
    return Writer(MlxEngine, loaded.tokenizer, loaded.context, loaded.ends, runtime)


def _files_of(path: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """The folder of an artefact, with its config.json and generation_config.json."""
    from edgevision.errors import UserError
    from edgevision.jsonfiles import read_json

    folder = next((f for f in (path.parent, path.parent.parent) if (f / "tokenizer.json").is_file()), None)
    if folder is None:
        raise UserError(
            f"there is no tokenizer.json beside {path}", hint="keep the files of an export together"
        )
    return folder, read_json(folder / "config.json"), read_json(folder / "generation_config.json")


def _onnx(path: Path) -> Writer:
    import onnxruntime as ort

    from edgevision.jsonfiles import end_tokens, text_setting

    folder, config, generation = _files_of(path)
    tokenizer = load_tokenizer(folder)
    try:
        session = ort.InferenceSession(str(path), _options(), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own, one for each status
        raise UserError(f"{path} cannot be loaded: {error}") from error
    inputs, outputs = {i.name: i for i in session.get_inputs()}, [o.name for o in session.get_outputs()]
    past = {name: name.replace("past_key_values", "present", 1) for name in inputs if name.startswith("past")}
    past = {name: present.replace("past_", "present_", 1) for name, present in past.items()}
    if (
        not past
        or "input_ids" not in inputs
        or "logits" not in outputs
        or not set(past.values()) <= set(outputs)
    ):
        raise UserError(
            f"{path} is no language model with a cache", hint="edgevision export RUN --to onnx writes one"
        )
    empty = {name: _empty(inputs[name]) for name in past}
    known = {"input_ids", "attention_mask", "position_ids", "num_logits_to_keep", *past}
    if strange := sorted(set(inputs) - known):
        raise UserError(f"{path} wants {strange[0]!r}, which is not known here")
    context = text_setting(config, "n_positions") or text_setting(config, "max_position_embeddings") or 2048
    ends = end_tokens(config, generation, tokenizer.end)
    return Writer(
        engine(session, past, empty), tokenizer, context, ends, f"onnxruntime {ort.__version__} (CPU)"
    )


def _options() -> Any:
    """onnxruntime starts a thread on every core, those that this process may not use (taskset) included."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    if usable_cores() < (os.cpu_count() or 1):
        options.intra_op_num_threads = usable_cores()
    return options


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _empty(spec: Any) -> Any:
    """The cache before the first token: one text, 0 tokens; sizes with names are batch and length."""
    import onnxruntime as ort

    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    sizes = [
        size if isinstance(size, int) else (1 if axis == 0 else 0) for axis, size in enumerate(spec.shape)
    ]
    return ort.OrtValue.ortvalue_from_numpy(np.zeros(sizes, kinds.get(spec.type, np.float32)))


def _package(path: Path) -> Writer:
    from converters import load
    from edgevision.jsonfiles import end_tokens, text_setting

    folder, config, generation = _files_of(path)
    tokenizer = load_tokenizer(folder)
    model = load(path)
    masks = {name: None for name in model.inputs if name.endswith("AttentionMask")}
    if not {"inputIds", "fullAttentionMask", "keyCache", "valueCache"} <= set(model.inputs):
        raise UserError(
            f"{path} is no language model with a cache",
            hint="edgevision export RUN --to coreml (or coreai) writes one",
        )
    if "slidingAttentionMask" in masks:
        masks["slidingAttentionMask"] = text_setting(config, "sliding_window")

    class PackageEngine:
        def __init__(self) -> None:
            self.length, self.state = 0, model.new_state()

        def __call__(self, ids: Sequence[int]) -> np.ndarray:
            total = self.length + len(ids)
            feeds = {name: _added_mask(self.length, total, window) for name, window in masks.items()}
            logits = model(state=self.state, inputIds=np.array([ids], np.int32), **feeds)["logits"]
            self.length = total
            return logits[0, -1].astype(np.float32)

    ends = end_tokens(config, generation, tokenizer.end)
    context = model[model.functions[0]].signature.dims["length"].high
    precision = model.metadata.get("precision", "float32")
    return Writer(PackageEngine, tokenizer, context or 2048, ends, model.runtime, precision=str(precision))


def _added_mask(past: int, total: int, window: int | None) -> np.ndarray:
    """(1, 1, total - past, total) float16: 0 where the token of a row sees that of a column, else -65504."""
    rows, columns = np.arange(past, total)[:, None], np.arange(total)[None]
    seen = (rows >= columns) & (columns > rows - (window or total))
    return np.where(seen, 0, np.finfo(np.float16).min).astype(np.float16)[None, None]


__all__ = ["open_writer", "usable_cores"]
