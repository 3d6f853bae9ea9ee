"""Vectors of images are those of the model, for images as they are."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbig import BigMLPClassifier
from skbig.image import ImageEncoder
from skbig.pretrained.quiet import quiet

transformers = pytest.importorskip("transformers")
image_module = pytest.importorskip("PIL.Image")

RANDOM = np.random.RandomState(0)
COLOURED = RANDOM.randint(0, 256, (5, 20, 24, 3)).astype(np.uint8)


def test_vectors_are_those_of_transformers(image_model: Path) -> None:
    """A vector is what the model gives for the image as its own processor prepares it."""
    with quiet():
        model = transformers.AutoModel.from_pretrained(image_model).eval()
        processor = transformers.AutoImageProcessor.from_pretrained(image_model, backend="pil")
    pixels = processor([image_module.fromarray(each) for each in COLOURED], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = model(pixel_values=pixels).last_hidden_state
    for pooling, value in (("mean", expected.mean(1)), ("cls", expected[:, 0]), ("max", expected.amax(1))):
        vectors = ImageEncoder(image_model, pooling=pooling, batch_size=2).fit_transform(COLOURED)
        np.testing.assert_allclose(vectors, value.numpy(), atol=2e-6)


@pytest.mark.parametrize(
    "X",
    [
        list(COLOURED),
        [image_module.fromarray(each) for each in COLOURED],
        COLOURED / 255.0,
        (COLOURED / 255.0).astype(np.float32),
        COLOURED.astype(int),
        torch.from_numpy(COLOURED),
    ],
    ids=["list", "PIL", "float64", "float32", "int", "tensor"],
)
def test_images_come_in_many_forms(image_model: Path, X: object) -> None:
    """Whole numbers up to 255, real ones up to 1, and pictures of PIL are the same images."""
    expected = ImageEncoder(image_model).fit_transform(COLOURED)
    np.testing.assert_array_equal(ImageEncoder(image_model).fit_transform(X), expected)


def test_grey_images_are_coloured_ones_of_equal_colours(image_model: Path) -> None:
    """One channel stands for three; sizes may differ."""
    grey = [COLOURED[0, :, :, 0], COLOURED[1, :10, :, :1]]
    three = [np.stack([grey[0]] * 3, -1), np.concatenate([grey[1]] * 3, -1)]
    encoder = ImageEncoder(image_model).fit(three)
    np.testing.assert_array_equal(encoder.transform(grey), encoder.transform(three))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((5, 64)), "X.reshape"),
        (np.zeros((8, 8)), r"X\[None\]"),
        ([np.zeros((3, 8, 9))], "moveaxis"),
        (np.zeros((2, 8, 8, 4), np.uint8), "transparency"),
        (np.full((2, 8, 8), 16.0), "from 0 to 1. Got values from 16 to 16"),
        (np.full((2, 8, 8), np.nan), "Got values from nan"),
        (np.full((2, 8, 8), -1), "Got values from -1"),
        (np.zeros((2, 8, 8), bool), "dtype bool"),
        (np.zeros((2, 0, 8)), "must have the shape"),
        ([], "at least one image"),
        (["picture.png"], "Image 0 of X is a path"),
        ("picture.png", "must be an array or a list of images, and is a str"),
    ],
)
def test_what_is_no_image_is_named(image_model: Path, X: object, message: str) -> None:
    """Bad images are refused by `fit` and by `transform`, with what to do."""
    with pytest.raises(ValueError, match=message):
        ImageEncoder(image_model).fit(X)
    with pytest.raises(ValueError, match=message):
        ImageEncoder(image_model).fit(COLOURED).transform(X)


def test_a_convolutional_net_is_a_model(tmp_path: Path) -> None:
    """The places of a ResNet's last layer are pooled; it has none for the whole image."""
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    with quiet():
        transformers.ResNetModel(config).save_pretrained(tmp_path)
        transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    assert ImageEncoder(tmp_path).fit_transform(COLOURED).shape == (5, 16)
    with pytest.raises(ValueError, match="Use pooling='mean'"):
        ImageEncoder(tmp_path, pooling="cls").fit(COLOURED)


def test_models_of_texts_are_refused(text_model: Path, image_model: Path, tmp_path: Path) -> None:
    """A folder without a processor of images, or without a model of them, has its sentence."""
    with pytest.raises(ValueError, match="does not say how images are prepared"):
        ImageEncoder(text_model).fit(COLOURED)
    shutil.copytree(text_model, tmp_path, dirs_exist_ok=True)
    shutil.copy(image_model / "preprocessor_config.json", tmp_path)
    with pytest.raises(ValueError, match="makes no vectors of images"):
        ImageEncoder(tmp_path).fit(COLOURED)


def test_images_go_through_a_pipeline_and_a_cache(image_model: Path, tmp_path: Path) -> None:
    """Digits are told apart by vectors of a model that knows nothing; its pickle is small."""
    X, y = load_digits(n_class=2, return_X_y=True)
    images = X[:100].reshape(-1, 8, 8) / 16.0
    network = BigMLPClassifier((16,), learning_rate=0.02, max_iter=60, schedule="cosine", random_state=0)
    encoder = ImageEncoder(image_model, cache=tmp_path / "cache")
    model = make_pipeline(encoder, StandardScaler(), network).fit(images, y[:100])
    assert model.score(images, y[:100]) > 0.95
    assert len(pickle.dumps(model[0])) < 2000
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(images), model.predict(images))
