"""Tiny models as a folder holds them, for those who test what they build on pretrained ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from skbig._utils.extras import import_extra
from skbig.pretrained.loading import transformers
from skbig.pretrained.quiet import quiet

MOST_WORDS = 1000

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def tiny_text_model(
    folder: str | PathLike[str], texts: Sequence[str], *, width: int = 32, n_layers: int = 2, random_state: int = 0
) -> Path:
    """Write a BERT with random weights, and a tokenizer made of some texts, as `save_pretrained` does.

    It knows nothing, but it takes the same way as one that does, in milliseconds and without a download.

    Parameters
    ----------
    folder : str or path
    texts : sequence of str
        What the tokenizer's words are taken from.
    width : int, default=32
        Numbers of a vector, a multiple of four.
    n_layers : int, default=2
    random_state : int, default=0

    Returns
    -------
    folder : Path

    Examples
    --------
    >>> from skbig.testing import tiny_text_model
    >>> folder = tiny_text_model("tiny", ["some words", "and others"])
    >>> (folder / "model.safetensors").exists()
    True
    """
    library = transformers("text", "skbig.testing.tiny_text_model")
    n_tokens = _write_tokenizer(library, Path(folder), texts)
    config = library.BertConfig(
        vocab_size=n_tokens,
        hidden_size=width,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
        intermediate_size=2 * width,
        max_position_embeddings=64,
    )
    return _written(library.BertModel, config, Path(folder), random_state)


def tiny_image_model(
    folder: str | PathLike[str], *, image_size: int = 16, width: int = 32, n_layers: int = 2, random_state: int = 0
) -> Path:
    """Write a vision transformer with random weights, and what prepares images for it, as `save_pretrained` does.

    Parameters
    ----------
    folder : str or path
    image_size : int, default=16
        Pixels to which images are brought, in both directions; a multiple of four.
    width : int, default=32
        Numbers of a vector, a multiple of four.
    n_layers : int, default=2
    random_state : int, default=0

    Returns
    -------
    folder : Path

    Examples
    --------
    >>> from skbig.testing import tiny_image_model
    >>> folder = tiny_image_model("tiny")
    >>> sorted(path.name for path in folder.iterdir())
    ['config.json', 'model.safetensors', 'preprocessor_config.json']
    """
    library = transformers("image", "skbig.testing.tiny_image_model")
    config = library.ViTConfig(
        hidden_size=width,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
        intermediate_size=2 * width,
        image_size=image_size,
        patch_size=4,
    )
    with quiet():
        library.ViTImageProcessorPil(size={"height": image_size, "width": image_size}).save_pretrained(folder)
    return _written(library.ViTModel, config, Path(folder), random_state)


def _write_tokenizer(library: Any, folder: Path, texts: Sequence[str]) -> int:
    tokenizers = import_extra("tokenizers", "text", "skbig.testing.tiny_text_model")
    normalizer, cutter = tokenizers.normalizers.BertNormalizer(), tokenizers.pre_tokenizers.BertPreTokenizer()
    found = [word for text in texts for word, _ in cutter.pre_tokenize_str(normalizer.normalize_str(text))]
    vocabulary = {token: i for i, token in enumerate(_tokens(found))}
    words = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    words.normalizer, words.pre_tokenizer = normalizer, cutter
    ends = [(name, words.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    words.post_processor = tokenizers.processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    named = {f"{name[1:-1].lower()}_token": name for name in SPECIAL}
    with quiet():
        fast = library.PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=64, **named)
        fast.save_pretrained(folder)
    return int(words.get_vocab_size())


def _tokens(words: Sequence[str]) -> list[str]:
    """Return tokens for some words: the most frequent as they are, all by their letters; always in the same order."""
    counts = Counter(words)
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[:MOST_WORDS]
    letters = sorted({letter for word in counts for letter in word})
    return list(dict.fromkeys([*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *frequent]))


def _written(kind: Any, config: Any, folder: Path, random_state: int) -> Path:
    with quiet():
        torch.manual_seed(random_state)  # put back with all else
        kind(config).save_pretrained(folder)
    return folder
