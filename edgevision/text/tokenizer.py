"""Tokenizers: text to numbers and back, as the `tokenizer.json` that every client of a model reads.

characters  a token for each character that the text uses; another character is refused by name. It is written
            as byte-pair encoding whose pairs join the bytes of one character, since that is what all clients
            read: onnxruntime-genai finds no blank in a plain list of characters
bpe         byte-level byte-pair encoding (Sennrich et al., 2016; GPT-2's alphabet of bytes): any text
wordpiece   BERT's (Devlin et al., 2019): words in small letters without accents, cut into pieces; what it
            does not know is [UNK]. `train_wordpiece`

Text of the first two comes back exactly: nothing is normalised, and no blank is added.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend

from converters.storage import replacing_file
from edgevision.errors import UserError

KINDS = ("characters", "bpe")
END = "<|endoftext|>"  # ends a text; stands between two
FRAME = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # BERT's special tokens, in the order of its table
BYTES = 256  # the smallest alphabet that writes any text
LARGEST = 100 * 2**20  # bytes of a tokenizer.json


class Tokenizer:
    """Text to tokens and back.

    Attributes:
        size: number of tokens, special ones included.
        end: the token that ends a text, None where there is none.
        settings: the content of tokenizer_config.json.
    """

    def __init__(self, backend: Backend, settings: dict[str, Any] | None = None):
        self.backend, self.settings = backend, dict(settings or {})
        self.size = backend.get_vocab_size()
        self.end = backend.token_to_id(token_text(self.settings.get("eos_token")) or END)
        self._alphabet = _alphabet(backend)

    def encode(self, text: str, special: bool = True, framed: bool = False) -> list[int]:
        """The tokens of a text; `special` says whether `<|endoftext|>` in it is that token, `framed` whether
        what the tokenizer puts around a text is there too, as [CLS] and [SEP].

        Raises:
            UserError: a character has no token.
        """
        return self.encode_batch([text], special, framed)[0]

    def encode_batch(
        self, texts: Sequence[str], special: bool = True, framed: bool = False
    ) -> list[list[int]]:
        """The tokens of each text, as `encode`."""
        self.backend.encode_special_tokens = not special
        try:
            found = self.backend.encode_batch_fast(list(texts), add_special_tokens=framed)
        except TypeError as error:
            raise UserError("the text is not valid Unicode: it holds half of a surrogate pair") from error
        finally:
            self.backend.encode_special_tokens = False
        if self._alphabet is not None:
            for text in texts:
                self._check_alphabet(text, special)
        return [encoding.ids for encoding in found]

    def decode(self, ids: Sequence[int], special: bool = False) -> str:
        """The text of tokens; with `special`, special tokens are shown.

        Raises:
            UserError: a token is out of range.
        """
        wrong = next((i for i in ids if not 0 <= i < self.size), None)
        if wrong is not None:
            raise UserError(f"token {wrong} is out of range: the tokenizer has {self.size:,}")
        return self.backend.decode(list(ids), skip_special_tokens=not special)

    def special(self, name: str) -> int | None:
        """The number of a special token by its name in the settings, as "mask_token"; None where there is
        none."""
        text = token_text(self.settings.get(name))
        return None if text is None else self.backend.token_to_id(text)

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json."""
        files = {"tokenizer.json": self.backend.to_str(pretty=False)}
        files["tokenizer_config.json"] = json.dumps(self.settings, indent=1)
        for name, content in files.items():
            with replacing_file(folder / name) as new:
                new.write_text(content, encoding="utf-8")

    def _check_alphabet(self, text: str, special: bool) -> None:
        assert self._alphabet is not None
        plain = text.replace(END, "") if special else text
        strange = sorted(set(plain) - self._alphabet)
        if strange:
            shown = ", ".join(map(ascii, strange[:10])) + (", …" if len(strange) > 10 else "")
            raise UserError(
                f"the model knows no character {shown}",
                hint="it was trained on other characters; --tokenizer bpe takes any text",
            )


def train_tokenizer(
    kind: str, texts: Iterable[str], size: int | None = None, context: int = 1024
) -> Tokenizer:
    """A new tokenizer for these texts.

    Args:
        kind: one of KINDS. size: of the vocabulary, for bpe (default 4,096); at least 257.
        context: of the model that it is for, written into its settings.

    Raises:
        UserError: an option is wrong, or there is no text.
    """
    if kind not in KINDS:
        raise UserError(f"tokenizer {kind!r} is unknown", hint=f"choose from {', '.join(KINDS)}", code=2)
    if kind == "characters" and size is not None:
        raise UserError("a tokenizer of characters has as many tokens as the text has characters", code=2)
    backend = _characters(texts) if kind == "characters" else _byte_pairs(texts, size or 4096)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        **dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), END),
    }
    return Tokenizer(backend, settings)


def train_wordpiece(texts: Iterable[str], size: int, context: int) -> Tokenizer:
    """A new tokenizer of `size` tokens, as BERT has it; `context` is written into its settings.

    Raises:
        UserError: there is no text.
    """
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=list(FRAME), show_progress=False)
    backend.train_from_iterator(_told(texts), trainer)
    last, first = (("[SEP]", FRAME.index("[SEP]")), ("[CLS]", FRAME.index("[CLS]")))
    backend.post_processor = processors.BertProcessing(last, first)
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        **dict(zip(names, FRAME, strict=True)),
    }
    return Tokenizer(backend, settings)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model's folder; nothing in the folder is executed.

    Raises:
        UserError: tokenizer.json is missing, too large, or damaged.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(f"{folder} has no tokenizer.json", hint="give the folder of a language model")
    if path.stat().st_size > LARGEST:
        raise UserError(f"{path} is larger than {LARGEST:,} bytes")
    try:
        backend = Backend.from_str(path.read_text(encoding="utf-8"))
        settings = folder / "tokenizer_config.json"
        found = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
        if not isinstance(found, dict):
            raise ValueError(f"{settings.name} holds no object")
    except Exception as error:  # tokenizers raises Exception itself
        raise UserError(f"{path} is damaged: {error}") from error
    backend.no_padding()
    backend.no_truncation()
    template = folder / "chat_template.jinja"
    if template.is_file():
        found.setdefault("chat_template", template.read_text(encoding="utf-8"))
    return Tokenizer(backend, found)


def token_text(setting: Any) -> str | None:
    """The text of a special token, which a tokenizer_config.json gives as a string or as an object."""
    return setting.get("content") if isinstance(setting, dict) else setting


def _alphabet(backend: Backend) -> set[str] | None:
    """The characters that there are tokens for, where some byte has none; else None, since any text can be
    written."""
    if not isinstance(backend.model, models.BPE) or not isinstance(backend.decoder, decoders.ByteLevel):
        return None
    vocabulary = set(backend.get_vocab(with_added_tokens=False))
    if vocabulary.issuperset(SYMBOLS):
        return None
    spelled = (_bytes_of(token) for token in vocabulary)
    texts = (given.decode("utf-8", "ignore") for given in spelled)
    return {text for text in texts if len(text) == 1}


def _byte_symbols() -> str:
    """GPT-2's character for each byte: itself where it can be seen, else one from U+0100 on."""
    seen = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte) if byte in seen else chr(next(others)) for byte in range(BYTES))


SYMBOLS = _byte_symbols()
_BYTE = {symbol: byte for byte, symbol in enumerate(SYMBOLS)}


def _bytes_of(token: str) -> bytes:
    return bytes(_BYTE[symbol] for symbol in token if symbol in _BYTE)


def _characters(texts: Iterable[str]) -> Backend:
    alphabet: set[str] = set()
    for text in texts:
        alphabet.update(text)
    if not alphabet:
        raise UserError("there is no text to learn characters from")
    spelled = ["".join(SYMBOLS[byte] for byte in character.encode()) for character in sorted(alphabet)]
    pairs = [(token[:end], token[end]) for token in spelled for end in range(1, len(token))]
    parts = [part for pair in pairs for part in pair]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(spelled + parts))}
    backend = Backend(models.BPE(vocabulary, list(dict.fromkeys(pairs))))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(END, normalized=False, special=True)])
    return backend


def _byte_pairs(texts: Iterable[str], size: int) -> Backend:
    if size <= BYTES:
        raise UserError(f"a vocabulary of {size} is too small: {BYTES + 1} at least", code=2)
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trainer.vocab_size = size - 1
    backend.train_from_iterator(_told(texts), trainer)
    backend.add_special_tokens([AddedToken(END, normalized=False, special=True)])
    return backend


def _told(texts: Iterable[str]) -> Iterator[str]:
    """The texts; UserError where there are none."""
    empty = True
    for text in texts:
        empty = empty and not text
        yield text
    if empty:
        raise UserError("there is no text to learn tokens from")


__all__ = ["END", "KINDS", "Tokenizer", "load_tokenizer", "token_text", "train_tokenizer", "train_wordpiece"]
