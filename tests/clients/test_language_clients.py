"""Exported language models in the programs that people run them in: the same greedy text as MLX."""

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map

from edgevision import pretrained
from edgevision.export_language import export_language
from edgevision.inference.generation import generate
from edgevision.inference.sampling import Sampling
from edgevision.inference.writers import open_writer
from edgevision.models import decoder_lm
from edgevision.text.tokenizer import train_tokenizer

TEXT = "Speak, speak. First Citizen: You are all resolved rather to die than to famish? " * 9
PROMPTS = ("First Citizen: ", "You are", "S")
COUNT = 64


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def folders(request, tmp_path_factory):
    """(run, export) of an untrained model, whose random weights are large so that its text varies."""
    root = tmp_path_factory.mktemp(request.param)
    tokenizer = train_tokenizer("bpe" if request.param == "llama" else "characters", [TEXT], None)
    config = decoder_lm.Config(
        request.param,
        vocabulary=tokenizer.size,
        context=128,
        layers=2,
        heads=4,
        key_value_heads=2 if request.param == "llama" else None,
        width=64,
    )
    mx.random.seed(1)
    model = decoder_lm.Model(config)
    model.update(tree_map(lambda w: w * 6 if w.ndim == 2 else w, model.parameters()))
    model.eval()
    (root / "run").mkdir()
    pretrained.save(root / "run", model, tokenizer, {})
    export_language(root / "run", ["onnx"], root / "export")
    return root / "run", root / "export"


def by_us(run, prompt):
    record, pieces = generate(open_writer(run), prompt, Sampling(), COUNT)
    assert "".join(pieces) == record.text
    return record


def by_genai(genai, model, ids):
    """The tokens that it writes after these, without the end."""
    options = genai.GeneratorParams(model)
    options.set_search_options(max_length=len(ids) + COUNT, do_sample=False)
    generator = genai.Generator(model, options)
    generator.append_tokens(np.array(ids, np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    written = list(generator.get_sequence(0))[len(ids) :]
    return written[:-1] if len(written) < COUNT else written


def test_onnxruntime_genai_writes_the_same(folders):
    genai = pytest.importorskip("onnxruntime_genai")
    run, export = folders
    model = genai.Model(str(export))
    tokenizer = genai.Tokenizer(model)
    for prompt in PROMPTS:
        expected = by_us(run, prompt)
        ids = open_writer(run).tokenizer.encode(prompt)
        assert list(tokenizer.encode(prompt)) == ids
        written = by_genai(genai, model, ids)
        assert written[: len(expected.tokens)] == expected.tokens
        assert len(written) - len(expected.tokens) <= (expected.stopped == "end")


def test_transformers_js_writes_the_same(folders, transformers_js):
    run, export = folders
    for prompt in PROMPTS[:2]:
        assert transformers_js("generate.mjs", export, "default", COUNT, prompt) == [by_us(run, prompt).text]


def test_transformers_js_writes_the_same_in_a_batch(folders, transformers_js):
    run, export = folders
    texts = transformers_js("generate.mjs", export, "default", 24, *PROMPTS)
    for prompt, text in zip(PROMPTS, texts, strict=True):
        assert by_us(run, prompt).text.startswith(text)


def test_a_file_of_half_precision_runs_too(folders, transformers_js):
    run, export = folders
    export_language(run, ["onnx"], export, precision="float16")
    (text,) = transformers_js("generate.mjs", export, "fp16", 8, PROMPTS[0])
    assert len(text) >= 1
    assert by_us(run, PROMPTS[0]).text.startswith(text)


@pytest.mark.parametrize(("scheme", "dtype"), [("int8", "q8"), ("int4", "q4")])
def test_all_clients_read_the_same_in_quantised_files(folders, scheme, dtype, transformers_js, tmp_path):
    run, _ = folders
    (file,) = export_language(run, ["onnx"], tmp_path, quantize=scheme)
    expected = [by_us(file, prompt) for prompt in PROMPTS[:2]]
    for prompt, record in zip(PROMPTS, expected, strict=False):
        assert transformers_js("generate.mjs", tmp_path, dtype, COUNT, prompt) == [record.text]
    genai = pytest.importorskip("onnxruntime_genai")
    model = genai.Model(str(tmp_path))
    for prompt, record in zip(PROMPTS, expected, strict=False):
        assert by_genai(genai, model, open_writer(run).tokenizer.encode(prompt)) == record.tokens
