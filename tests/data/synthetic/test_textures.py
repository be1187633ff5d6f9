import numpy as np
import pytest

from edgeflownas.data.synthetic import textures
from edgeflownas.data.synthetic.geometry import Draws


@pytest.mark.parametrize("size", [(12, 12), (40, 300), (96, 130)])
def test_every_texture_fits_and_has_something_to_match(size):
    for index in range(60):
        for make in (textures.object_texture, textures.background_texture):
            texture = make(Draws(1, index, 0), *size)
            assert texture.shape == (*size, 3) and texture.dtype == np.uint8
            assert texture.astype(float).std(axis=(0, 1)).max() > 0.5, f"{make.__name__} {index} is flat"


def test_textures_differ_in_colour_brightness_and_contrast():
    made = [textures.background_texture(Draws(2, index, 0), 64, 80).reshape(-1, 3).astype(float) for index in range(60)]
    grey = np.array([texture.mean() for texture in made])
    contrast = np.array([texture.mean(axis=1).std() for texture in made])
    tint = np.array([texture.mean(axis=0) - texture.mean() for texture in made])
    assert grey.std() > 20 and contrast.std() > 5 and (np.abs(tint).max(axis=1) > 10).mean() > 0.3
    assert {int(np.argmax(row)) for row in tint} == {0, 1, 2}


@pytest.mark.parametrize(
    "pattern", [textures.waves, textures.tiles, textures.cells, textures.gradient, textures.speckles, textures.strokes]
)
def test_patterns_stay_within_zero_and_one(pattern):
    made = [pattern(Draws(3, index, 0), 50, 70) for index in range(20)]
    assert all(field.shape == (50, 70) and field.dtype == np.float32 for field in made)
    assert all(field.min() >= 0 and field.max() <= 1 for field in made)
    assert sum(field.std() > 0.05 for field in made) >= 15
