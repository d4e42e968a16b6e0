"""`edgevision generate`: every option, every bad input is one line, and a stream that ends early is told."""

import io
import json
import re
import shutil
import sys

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map

from edgevision import cli, pretrained
from edgevision.console import strip_escapes
from edgevision.errors import UserError
from edgevision.inference.generation import Writer, chat_prompt, generate
from edgevision.inference.sampling import Sampling
from edgevision.inference.writers import open_writer
from edgevision.models import decoder_lm
from edgevision.text.tokenizer import Tokenizer, train_tokenizer

TEXT = "First Citizen: Before we proceed any further, hear me speak. Zoë, 漢字! " * 9


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    tokenizer = train_tokenizer("bpe", [TEXT], 300)
    mx.random.seed(0)
    model = decoder_lm.Model(decoder_lm.Config("llama", tokenizer.size, 48, 1, 2, width=32))
    model.update(tree_map(lambda w: w * 8 if w.ndim == 2 else w, model.parameters()))
    pretrained.save(folder, model, tokenizer, {"model": "decoder_lm"})
    return folder


def command(*arguments):
    return cli.main(["generate", *map(str, arguments)])


def told(capsys, *arguments):
    """The exit code, and what was printed."""
    code = command(*arguments)
    return code, capsys.readouterr()


def test_json_tells_both_speeds_of_a_batch(run, capsys):
    prompts = ("--prompt", "First", "--prompt", "hear me")
    options = ("--top-k", 9, "--top-p", 0.9, "--min-p", 0.01, "--repetition-penalty", 1.2, "--seed", 4)
    code, printed = told(capsys, run, *prompts, *options, "--max-tokens", 12, "--json")
    first, second = json.loads(printed.out)["texts"]
    assert code == 0
    assert (first["prompt"], second["prompt"]) == ("First", "hear me")
    assert first["prompt_tokens_per_second"] > 0
    assert first["tokens_per_second"] > 0
    code, printed = told(capsys, run, "--prompt", "First", *options, "--max-tokens", 12)
    assert printed.out == f"First{strip_escapes(first['text'])}\n"
    assert "12 tokens, ended by length" in printed.err
    _, again = told(capsys, run, *prompts, *options, "--max-tokens", 12, "--json")
    assert [text["text"] for text in json.loads(again.out)["texts"]] == [first["text"], second["text"]]


def test_a_stop_string_ends_the_text_and_is_left_out(run):
    unread, _ = generate(open_writer(run), "First", Sampling(), 24)
    record, pieces = generate(open_writer(run), "First", Sampling(), 24)
    text = "".join(pieces)
    stop = text[5:9]
    record, pieces = generate(open_writer(run), "First", Sampling(), 24, [stop])
    assert "".join(pieces) == text[: text.find(stop)] == record.text
    assert record.stopped == "stop"
    assert unread.tokens == []  # nobody asked for its pieces


@pytest.mark.parametrize(
    ("options", "reason", "code"),
    [
        (("--temperature", "-1"), "temperature is -1.0, expected 0", 2),
        (("--temperature", "nan"), "temperature is nan", 2),
        (("--top-p", "0"), "top-p is 0", 2),
        (("--prompt", "far " * 99), "the prompt has .* tokens, the model takes 47", 1),
        (("--prompt", "half \ud800"), "not UTF-8", 1),
        (("--chat", "--prompt", "hear"), "no chat template", 1),
    ],
    ids=["negative", "nan", "top-p", "long", "surrogate", "chat"],
)
def test_bad_options_are_one_line(run, capsys, options, reason, code):
    found, printed = told(capsys, run, *options)
    assert found == code
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert re.search(reason, printed.err)


def test_a_long_prompt_keeps_its_end_where_asked(run, capsys):
    code, printed = told(capsys, run, "--prompt", "far " * 99, "--truncate", "--json", "--max-tokens", 9)
    (text,) = json.loads(printed.out)["texts"]
    assert (code, text["prompt_tokens"], text["stopped"]) == (0, 47, "context")
    assert "--truncate" in told(capsys, run, "--prompt", "far " * 99)[1].err


def test_an_empty_prompt_begins_a_text_or_is_refused(run, capsys):
    assert told(capsys, run, "--max-tokens", 3)[0] == 0
    writer = open_writer(run)
    writer.tokenizer.end = None
    with pytest.raises(UserError, match="the prompt is empty"):
        generate(writer, "", Sampling())


def test_input_that_is_not_utf8_is_named(run, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"ab\xff")))
    code, printed = told(capsys, run, "--prompt", "-")
    assert code == 1
    assert "not UTF-8 at byte 2" in printed.err


def test_a_tokenizer_that_does_not_fit_is_refused(run, tmp_path, capsys):
    large = shutil.copytree(run, tmp_path / "large")
    train_tokenizer("bpe", [TEXT + "an entirely other text of words"], 320).save(large)
    code, printed = told(capsys, large, "--prompt", "hear")
    assert code == 1
    assert "the tokenizer has 320 tokens, the model 300" in printed.err
    small = shutil.copytree(run, tmp_path / "small")
    train_tokenizer("bpe", [TEXT], 257).save(small)
    with pytest.raises(UserError, match="the tokenizer has 257"):
        list(generate(open_writer(small), "hear", Sampling(temperature=9.0), 40)[1])


def test_an_interrupted_stream_ends_as_a_signal_does(run, capsys, monkeypatch):
    from edgevision.inference import generation

    def interrupted(*given):
        yield "begun"
        raise KeyboardInterrupt

    monkeypatch.setattr(generation, "_pieces", interrupted)
    code, printed = told(capsys, run, "--prompt", "hear")
    assert code == 130
    assert printed.out == "hearbegun\n"
    assert "Traceback" not in printed.err


def test_a_model_without_a_cache_is_refused(run, tmp_path):
    import converters as cv

    model = pretrained.load(run).model
    pretrained.load(run).tokenizer.save(tmp_path)
    for name in ("model.onnx", "model.mlpackage"):
        path = cv.convert(model, tmp_path / name, inputs={"input_ids": cv.Spec((1, 8), "int32")})
        with pytest.raises(UserError, match="no language model with a cache"):
            open_writer(path)


def test_values_that_are_no_numbers_stop_the_text(run):
    opened = open_writer(run)
    engine = lambda ids: np.full(300, np.nan, np.float32)  # noqa: E731
    writer = Writer(lambda: engine, opened.tokenizer, 48, (), "none")
    with pytest.raises(UserError, match="no numbers"):
        list(generate(writer, "hear", Sampling())[1])


TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}<assistant>"


@pytest.mark.parametrize("form", ["text", "several", "file"])
def test_a_chat_template_wraps_the_prompt(run, form, tmp_path):
    folder = shutil.copytree(run, tmp_path / "chat")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    several = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": TEMPLATE}]
    if form == "file":
        (folder / "chat_template.jinja").write_text(TEMPLATE)
    else:
        settings["chat_template"] = several if form == "several" else TEMPLATE
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    found = chat_prompt(open_writer(folder).tokenizer, "hear me")
    assert found == "<user>hear me<|endoftext|><assistant>"


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__.os.system('id') }}",
        "{{ raise_exception('no such role') }}",
        "{% for",
        "{{ 'a' * 9999999999 }}",
        "{% for i in range(9999999) %}{% endfor %}",
    ],
)
def test_templates_run_in_a_sandbox(template):
    plain = train_tokenizer("bpe", [TEXT], 260)
    with pytest.raises(UserError, match="the chat template fails"):
        chat_prompt(Tokenizer(plain.backend, {"chat_template": template}), "hear")


def test_code_of_a_model_folder_is_never_executed(run, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "evil")
    config = json.loads((folder / "config.json").read_text())
    mark = tmp_path / "executed"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
    for key in ("model_file", "auto_map"):
        changed = {**config, "model_type": "evil", key: "evil.py"}
        (folder / "config.json").write_text(json.dumps(changed))
        code, printed = told(capsys, folder, "--prompt", "hear")
        assert code == 1
        assert not mark.exists()
        assert "Traceback" not in printed.err
