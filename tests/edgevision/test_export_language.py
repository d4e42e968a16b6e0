"""Language models as ONNX folders and Core ML packages: the same text as MLX, ours and those of mlx-lm."""

import json
from importlib.util import find_spec

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_map

from edgevision import pretrained
from edgevision.cli import main
from edgevision.errors import UsageError, UserError
from edgevision.export_language import export_language
from edgevision.inference.generation import generate
from edgevision.inference.language_agreement import language_agreement
from edgevision.inference.sampling import Sampling
from edgevision.inference.writers import open_writer
from edgevision.models import decoder_lm
from edgevision.text.tokenizer import train_tokenizer

TEXT = "Speak, speak. First Citizen: You are all resolved rather to die than to famish? " * 9
WANDERING = Sampling(temperature=1.0, top_k=20, top_p=0.95, min_p=0.01, repetition_penalty=1.1, seed=3)


CORE_AI = pytest.mark.skipif(find_spec("coreai") is None, reason="coreai-core has no wheel for this system")


def write_text(path, prompt="First Citizen: ", sampling=WANDERING, count=32):
    record, pieces = generate(open_writer(path), prompt, sampling, count)
    return "".join(pieces), record


def small(style):
    tokenizer = train_tokenizer("bpe", [TEXT], 300)
    groups = 2 if style == "llama" else None
    config = decoder_lm.Config(style, tokenizer.size, 96, 2, 4, key_value_heads=groups, width=64)
    mx.random.seed(1)
    model = decoder_lm.Model(config)
    model.update(tree_map(lambda w: w * 6 if w.ndim == 2 else w, model.parameters()))
    return model.eval(), tokenizer


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def exported(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    (root / "run").mkdir()
    pretrained.save(root / "run", *small(request.param), {"model": "decoder_lm"})
    export_language(root / "run", ["onnx", "coreml"], root / "out")
    return root / "run", root / "out"


def test_every_runtime_writes_the_same_text(exported):
    run, out = exported
    wanted, _ = write_text(run)
    assert write_text(out)[0] == wanted
    assert write_text(out / "onnx" / "model.onnx")[0] == wanted
    greedy, record = write_text(run, sampling=Sampling(), count=64)
    found, by_coreml = write_text(out / "decoder_lm.mlpackage", sampling=Sampling(), count=64)
    same = next((i for i, (a, b) in enumerate(zip(greedy, found, strict=False)) if a != b), len(greedy))
    assert same >= 24, (greedy, found)  # its cache has half precision: two near tokens may change places
    assert by_coreml.prompt_tokens == record.prompt_tokens
    assert language_agreement(run, out / "decoder_lm.mlpackage")["ok"]


@pytest.mark.parametrize("style", ["gpt2", "llama"])
def test_a_seed_draws_the_same_text_in_core_ml(style, tmp_path):
    """Of a model whose logits lie so far apart that its cache of half precision changes no draw."""
    tokenizer = train_tokenizer("bpe", [TEXT], 300)
    config = decoder_lm.Config(style, tokenizer.size, 96, 2, 4, width=64, tied=False)
    mx.random.seed(1)
    model = decoder_lm.Model(config)
    model.update(tree_map(lambda w: w * 2 if w.ndim == 2 else w, model.parameters()))
    model.head.weight = model.head.weight * 5
    pretrained.save(tmp_path, model.eval(), tokenizer, {"model": "decoder_lm"})
    (package,) = export_language(tmp_path, ["coreml"], tmp_path / "out")
    (wanted, drawn), (found, by_coreml) = (write_text(path) for path in (tmp_path, package))
    assert by_coreml.tokens == drawn.tokens
    assert found == wanted
    assert len(set(drawn.tokens)) > 10


@CORE_AI
def test_core_ai_writes_the_same_64_tokens(exported, tmp_path, capsys):
    run, _ = exported
    (asset,) = export_language(run, ["coreai"], tmp_path)
    assert asset.name == "decoder_lm.aimodel"
    wanted, record = write_text(run, sampling=Sampling(), count=64)
    found, by_core_ai = write_text(asset, sampling=Sampling(), count=64)
    assert found == wanted
    assert by_core_ai.tokens == record.tokens
    told = ["--prompt", "First Citizen: ", "--max-tokens", "8", "--temperature", "0", "--json"]
    written = []
    for model in (run, asset):
        capsys.readouterr()
        assert main(["generate", str(model), *told]) == 0
        written.append(json.loads(capsys.readouterr().out)["texts"][0]["text"])
    assert written[0] == written[1]
    assert main(["compare", str(run), str(asset)]) == 0
    assert "64 of 64 times" in capsys.readouterr().out
    result = language_agreement(run, asset)
    assert result["ok"]
    assert result["same_token"] == result["tokens"]


def test_the_package_is_named_as_swift_transformers_wants(exported):
    import coremltools

    _, out = exported
    spec = coremltools.utils.load_spec(str(out / "decoder_lm.mlpackage"))
    assert [given.name for given in spec.description.input] == ["inputIds", "fullAttentionMask"]
    assert [state.name for state in spec.description.state] == ["keyCache", "valueCache"]
    assert [result.name for result in spec.description.output] == ["logits"]
    ids, mask = (given.type.multiArrayType for given in spec.description.input)
    bounds = [(r.lowerBound, r.upperBound) for r in ids.shapeRange.sizeRanges]
    assert bounds == [(1, 1), (1, 96)]
    assert mask.dataType == coremltools.proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT16
    assert spec.description.metadata.userDefined["co.huggingface.exporters.name"] == "decoder_lm"


@pytest.mark.parametrize(
    "options", [{"precision": "float16"}, {"quantize": "int8"}, {"quantize": "int4"}], ids=str
)
def test_smaller_artefacts_write_too(options, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    pretrained.save(run, *small("llama"), {"model": "decoder_lm"})
    targets = ["onnx", "coreml", *(["coreai"] if find_spec("coreai") else [])]
    for path in export_language(run, targets, tmp_path / "out", **options):
        assert language_agreement(run, path, count=16)["ok"]
        assert len(write_text(path, count=8)[0]) > 1


def test_a_package_takes_as_many_tokens_as_it_was_made_for(exported, tmp_path, monkeypatch):
    run, _ = exported
    monkeypatch.chdir(tmp_path)
    (package,) = export_language(run, ["coreml"], tmp_path, context=20)
    assert package.name == "decoder_lm.mlpackage"
    assert open_writer(package).context == 20
    assert write_text(package, count=64)[1].stopped == "context"
    with pytest.raises(UserError, match="the prompt has"):
        write_text(package, TEXT)
    with pytest.raises(UsageError, match="97, expected 2 to the model's 96"):
        export_language(run, ["coreml"], tmp_path, context=97)


OTHERS = [
    ("llama", None),
    ("llama", 4),
    ("qwen3", 4),
    ("qwen3", 8),
    ("gemma3_text", None),
    ("gemma3_text", 8),
]
mlx_lm = pytest.importorskip("mlx_lm", reason="mlx-lm is a development dependency")
from mlx_lm_configs import build  # noqa: E402  # pyright: ignore[reportMissingImports]


def save_for_mlx_lm(folder, name, bits=None):
    """A tiny model of that architecture as mlx-lm saves it."""
    import mlx_lm.utils

    tokenizer = train_tokenizer("bpe", [TEXT], 300)
    sizes = {"vocab_size": tokenizer.size, "hidden_size": 64, "intermediate_size": 128}
    model = build(name, **sizes)
    config = {**vars(model.args), "model_type": name, "eos_token_id": tokenizer.end}
    if bits is not None:
        quantization = {"group_size": 32, "bits": bits}
        nn.quantize(model, **quantization)
        config |= {"quantization": quantization, "quantization_config": quantization}
    mlx_lm.utils.save_model(folder, model, donate_model=False)
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer.save(folder)


@pytest.mark.parametrize(
    ("name", "bits"),
    [("llama", 8), ("qwen3", None), ("gemma3_text", 4)]
    + [pytest.param(name, bits, marks=pytest.mark.slow) for name, bits in OTHERS],
)
def test_models_of_mlx_lm_are_exported(name, bits, tmp_path):
    save_for_mlx_lm(tmp_path / name, name, bits)
    assert pretrained.load(tmp_path / name).kind == "mlx-lm" or (name, bits) == ("llama", None)
    for path in export_language(tmp_path / name, ["onnx", "coreml"], tmp_path / "out"):
        result = language_agreement(tmp_path / name, path, 24)
        assert result["ok"], (path, result["told"])
        assert len(write_text(path, "You", count=4)[0]) > 0
    assert (tmp_path / "out" / f"{name}.mlpackage").is_dir()
    assert write_text(tmp_path / "out", "You")[0] == write_text(tmp_path / name, "You")[0], "drawn by a seed"
