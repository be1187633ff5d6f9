import numpy as np
import pytest

from edgeflownas.data.synthetic import textures
from edgeflownas.data.synthetic.geometry import Draws


@pytest.mark.parametrize("size", [(12, 12), (40, 300), (96, 130)])
def test_every_texture_fits_and_has_something_to_match(size):
    for index in range(60):
        for make in (textures.surface, textures.plain, textures.background):
            texture = make(Draws(1, index, 0), *size)
            assert texture.shape == (*size, 3) and texture.dtype == np.uint8
        assert texture.astype(float).std(axis=(0, 1)).max() > 0.5, f"background {index} is flat"


def test_textures_differ_in_colour_brightness_and_contrast():
    made = [textures.background(Draws(2, index, 0), 64, 80).reshape(-1, 3).astype(float) for index in range(60)]
    grey = np.array([texture.mean() for texture in made])
    contrast = np.array([texture.mean(axis=1).std() for texture in made])
    tint = np.array([texture.mean(axis=0) - texture.mean() for texture in made])
    assert grey.std() > 20 and contrast.std() > 5 and (np.abs(tint).max(axis=1) > 10).mean() > 0.3
    assert {int(np.argmax(row)) for row in tint} == {0, 1, 2}


@pytest.mark.parametrize(("gain", "expected"), [(1.0, -2.0), (0.5, -4.0)])
def test_noise_has_the_spectrum_that_its_gain_says(gain, expected):
    fields = [textures.fractal(Draws(3, index, 0), 128, 128, 1.5, 6, gain) for index in range(12)]
    assert all(abs(field.mean()) < 0.2 and abs(field.std() - 1) < 0.3 for field in fields)
    window = np.outer(np.hanning(128), np.hanning(128))
    power = np.mean([np.abs(np.fft.fft2(field * window)) ** 2 for field in fields], axis=0)
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128))
    low, high = (power[(frequency > f / 1.2) & (frequency < f * 1.2)].mean() for f in (0.04, 0.16))
    assert abs(np.log(high / low) / np.log(4) - expected) < 0.8


def test_recolouring_keeps_the_structure():
    texture = textures.blurred_noise(Draws(4, 0, 0), 40, 50)
    made = [textures.recoloured(Draws(4, index, 1), texture).astype(float) for index in range(20)]
    likeness = [abs(np.corrcoef(each[..., 1].ravel(), texture[..., 1].ravel())[0, 1]) for each in made]
    assert min(likeness) > 0.7 and np.std([each.mean() for each in made]) > 10
