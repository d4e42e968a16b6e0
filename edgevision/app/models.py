"""What an app does with its models: one says what is on a picture, one reads digits, one writes.

A model is a run, which is exported here, an export folder, or an artefact in one. Each app has a place for
one of each kind, and `models.json` tells it what they are:

{"format": 1, "digits": {"labels", "side"}, "caption": {"start", "end", "limit", "side"},
 "write": {"ends", "context", "window"}}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgevision.errors import UserError
from edgevision.jsonfiles import end_tokens, is_captioner, read_json, text_setting

FORMAT = 1
TASKS = {"image-classification": "digits", "image-to-text": "caption", "text-generation": "write"}
ENDINGS = {"coreml": ".mlpackage", "coreai": ".aimodel"}
SIDE = 28  # pixels of a digit


@dataclass(frozen=True)
class Chosen:
    """A model and its place in an app.

    Attributes:
        kind: "digits", "caption" or "write". target: "coreml", "coreai" or "onnx".
        path: of the package or the ONNX file; of a captioner in ONNX, its encoder.
        settings: the entry in models.json. described: what `converters.inspect` says.
    """

    kind: str
    target: str
    path: Path
    settings: dict[str, Any]
    described: dict[str, Any]

    @property
    def folder(self) -> Path:
        """With the tokenizer."""
        return self.path.parent.parent if self.target == "onnx" else self.path.parent


@contextmanager
def chosen(paths: Sequence[Path], targets: Sequence[str], small: bool = False) -> Iterator[list[Chosen]]:
    """The models in `paths`, of which runs are exported to the first of the targets; they are there until the
    end of the block.

    Args:
        small: captioners in int8, where there is a choice: they are loaded over the net.

    Raises:
        UserError: something is no model, not for these targets or not for the apps, or two are of one kind.
    """
    with TemporaryDirectory() as scratch:
        found: list[Chosen] = []
        for index, path in enumerate(paths):
            is_run, scratch_folder = _is_run(path), Path(scratch) / str(index) / path.resolve().name
            place = _exported(path, targets[0], scratch_folder, small) if is_run else path
            found += (_described(artefact, target) for artefact, target in _artefacts(place, targets, small))
        if not found:
            raise UserError("there is no model", hint="--model RUN_OR_EXPORT, once for each")
        found = [model for model in found if not _spare(model, found)]
        for one in found:
            same = [other.path for other in found if (other.kind, other.target) == (one.kind, one.target)]
            if len(same) > 1:
                raise UserError(
                    f"{same[0]} and {same[1]} are for the same tab, {one.kind}", hint="give one of them"
                )
        yield found


def _spare(model: Chosen, models: Sequence[Chosen]) -> bool:
    """Whether the app takes the package for Core ML instead of this one for Core AI.

    Raises:
        UserError: there is none.
    """
    if model.target != "coreai" or model.kind != "caption":
        return False
    if not any((other.kind, other.target) == (model.kind, "coreml") for other in models):
        raise UserError(
            f"{model.path} is for captions, which the app computes with Core ML",
            hint="export it with --to coreml too",
        )
    return True


def contents(models: Iterable[Chosen]) -> str:
    """models.json."""
    return json.dumps({"format": FORMAT} | {model.kind: model.settings for model in models}, indent=1)


def _is_run(path: Path) -> bool:
    if not path.exists():
        raise UserError(f"{path} is not there", hint="train a model: edgevision train lenet --out runs/lenet")
    own = ("weights.safetensors", "training.json")
    return path.is_dir() and (any((path / n).is_file() for n in own) or any(path.glob("model*.safetensors")))


def _exported(path: Path, target: str, out: Path, small: bool) -> Path:
    """The run `path` in a folder of its own."""
    if is_captioner(path):
        from edgevision.export_captioner import export_captioner

        export_captioner(path, [target], out, quantize="int8" if small else None)
    elif any(path.glob("model*.safetensors")):
        from edgevision.export_language import export_language

        export_language(path, [target], out)
    else:
        from edgevision import runs
        from edgevision.export import export_run

        export_run(runs.load(path), [target], out, None, False)
    return out


def _artefacts(path: Path, targets: Sequence[str], small: bool) -> list[tuple[Path, str]]:
    """The artefact of each target in an export folder, or the one that is given."""
    found = []
    for target in targets:
        ending = ENDINGS.get(target, ".onnx")
        if path.suffix == ending:
            return [(path, target)]
        patterns = ["onnx/encoder_model*.onnx", "onnx/model*.onnx"] if target == "onnx" else [f"*{ending}"]
        if small:
            patterns.insert(0, "onnx/encoder_model_quantized.onnx")
        files = next((files for pattern in patterns if (files := sorted(path.glob(pattern)))), [])
        found += [(file, target) for file in files[:1]]
    if not found:
        endings = " or ".join(ENDINGS.get(target, ".onnx") for target in targets)
        raise UserError(
            f"{path} holds no {endings}", hint=f"edgevision export RUN --to {targets[0]} --out {path}"
        )
    return found


def parts(model: Chosen) -> dict[str, Path]:
    """The files of a model in ONNX by what they are for: "model", or "encoder" and "decoder"; "tokenizer".

    Raises:
        UserError: one is missing, or not for the apps.
    """
    files = {"model": model.path}
    if model.kind == "caption":
        decoder = model.path.name.replace("encoder_model", "decoder_model_merged")
        files = {"encoder": model.path, "decoder": model.path.with_name(decoder)}
    if model.kind == "digits":
        if "pixel_values" not in model.described["functions"]["main"]["inputs"]:
            raise UserError(
                f"{model.path} takes no pixel_values", hint="edgevision export RUN --to onnx --out DIR"
            )
    else:
        files["tokenizer"] = model.folder / "tokenizer.json"
    for file in files.values():
        if not file.is_file():
            raise UserError(f"{file} is not there", hint="keep the files of an export together")
        if beside := sorted(file.parent.glob(f"{file.name}?*")):
            raise UserError(f"{file} has its weights in {beside[0].name}: too large for an app")
    return files


def _described(path: Path, target: str) -> Chosen:
    import converters.metadata

    described = converters.inspect(path)
    metadata: dict[str, Any] = described["metadata"]
    if metadata.get("format") != converters.metadata.FORMAT:
        raise UserError(
            f"{path} has metadata of format {metadata.get('format')!r}, the app reads "
            f"{converters.metadata.FORMAT}",
            hint="export the model with this version",
        )
    kind = TASKS.get(str(metadata.get("task")))
    if kind is None:
        raise UserError(
            f"{path} is for {metadata.get('task') or 'no task that is known'}",
            hint="the app has places for a classifier of digits, a captioner and a language model",
        )
    if kind == "digits":
        return Chosen(kind, target, path, _digits(path, metadata), described)
    folder = path.parent.parent if target == "onnx" else path.parent
    check_tokenizer(folder / "tokenizer.json")
    settings = _caption(folder) if kind == "caption" else _write(folder, target, metadata)
    return Chosen(kind, target, path, settings, described)


def _digits(path: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    labels, given = metadata.get("labels"), metadata.get("preprocessing") or {}
    size, color = given.get("size"), given.get("color")
    if not isinstance(labels, list) or (size, color) != ([SIDE, SIDE], "grey"):
        raise UserError(
            f"{path} takes {color or 'other'} pictures of {size or 'another size'}",
            hint=f"the tab for digits needs a classifier of grey pictures of {SIDE} x {SIDE}, such as lenet",
        )
    return {"labels": [str(label) for label in labels], "side": SIDE}


def _caption(folder: Path) -> dict[str, Any]:
    config = read_json(folder / "config.json") | read_json(folder / "generation_config.json")
    prepared = read_json(folder / "preprocessor_config.json")
    ends = end_tokens(config, config, None)
    try:
        side = int(prepared["size"]["height"])
        plain = not any(prepared["image_mean"]) and set(prepared["image_std"]) == {1}
        end = ends[0]
        limit = int(config.get("max_length", 32)) - 1
    except (KeyError, TypeError, IndexError) as error:
        raise UserError(f"{folder} is no export of a captioner: {error} is missing") from error
    if not plain:
        raise UserError(f"{folder} wants pictures normalised", hint="export the captioner anew")
    return {"start": config.get("decoder_start_token_id", end), "end": end, "limit": limit, "side": side}


def _write(folder: Path, target: str, metadata: dict[str, Any]) -> dict[str, Any]:
    config, generation = (read_json(folder / name) for name in ("config.json", "generation_config.json"))
    longest = text_setting(config, "n_positions") or text_setting(config, "max_position_embeddings") or 2048
    if target in ENDINGS:
        longest = metadata.get("dims", {}).get("length", {}).get("high") or longest
    ends = list(end_tokens(config, generation, None))
    return {"ends": ends, "context": longest, "window": text_setting(config, "sliding_window")}


def check_tokenizer(path: Path) -> None:
    """UserError unless the apps can read it: byte-level BPE without a normaliser."""
    if not path.is_file():
        raise UserError(f"{path} is not there", hint="keep the files of an export together")
    file = read_json(path)
    before, after = file.get("pre_tokenizer") or {}, file.get("decoder") or {}
    kinds = (before.get("type"), after.get("type"), (file.get("model") or {}).get("type", "BPE"))
    plain = not file.get("normalizer") and not before.get("add_prefix_space")
    if kinds != ("ByteLevel", "ByteLevel", "BPE") or not plain:
        raise UserError(f"{path} is no plain byte-level BPE, the only kind of tokenizer that the apps read")


__all__ = ["Chosen", "check_tokenizer", "chosen", "contents", "parts"]
