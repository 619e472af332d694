"""From files and photos to codes: encoders, alignment, inversion, readers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from clipzoo_style.alignment import align_face, check_aligned, face_points, ffhq_quad, misalignment
from clipzoo_style.e4e import E4E, load_e4e
from clipzoo_style.inputs import read_codes, read_photo
from clipzoo_style.inversion import invert
from clipzoo_style.latents import Latent

from clipzoo.errors import DataError, WeightsError

SHAPE = {"widths": (16, 16, 16, 16), "units": (1, 1, 1, 1)}
EYES_AND_MOUTH = [[96.0, 120.0], [160.0, 120.0], [128.0, 150.0], [104.0, 180.0], [152.0, 180.0]]


def encoder() -> E4E:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return E4E(8, **SHAPE).eval()


def test_an_e4e_checkpoint_loads_and_starts_from_its_mean(tmp_path, small):
    made = encoder()
    mean = torch.randn(8, 16)
    state = {f"encoder.{key}": value for key, value in made.state_dict().items()}
    state |= {f"decoder.{key}": value for key, value in small.state_dict().items()}
    torch.save({"state_dict": state, "latent_avg": mean, "opts": {"start_from_latent_avg": True}}, tmp_path / "e.pt")
    loaded = load_e4e(tmp_path / "e.pt", **SHAPE)
    image = torch.rand(1, 3, 256, 256)
    code = loaded.invert(image)
    assert code.space == "w+" and len(code) == 1
    assert torch.allclose(code.codes, made(image * 2 - 1) + mean, atol=1e-5)
    torch.save({"state_dict": state, "latent_avg": mean, "opts": {"start_from_latent_avg": False}}, tmp_path / "e.pt")
    assert torch.allclose(load_e4e(tmp_path / "e.pt", **SHAPE).invert(image).codes, made(image * 2 - 1), atol=1e-5)
    assert small.synthesize(code).shape == (1, 3, 32, 32)


def test_every_row_is_the_first_and_a_difference():
    made = encoder()
    image = torch.randn(1, 3, 256, 256)
    before = made(image)
    with torch.no_grad():
        made.styles[0].linear.bias += 1.0
    moved = made(image) - before
    assert torch.allclose(moved, moved[:, :1].expand_as(moved), atol=1e-5) and moved.abs().min() > 0
    with torch.no_grad():
        made.styles[5].linear.bias += 1.0
    assert ((made(image) - before - moved).abs().amax((0, 2)) > 1e-3).tolist() == [row == 5 for row in range(8)]


def test_other_files_are_no_encoder(tmp_path):
    torch.save({"state_dict": {"mapper.x": torch.zeros(1)}}, tmp_path / "m.pt")
    for name in ("m.pt", "absent.pt"):
        with pytest.raises(WeightsError):
            load_e4e(tmp_path / name)


def turned(points: np.ndarray, degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    angle = math.radians(degrees)
    matrix = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return points @ matrix.T + np.array(shift)


def test_the_quad_turns_and_grows_with_the_face():
    points = np.array(EYES_AND_MOUTH)
    quad = ffhq_quad(torch.from_numpy(points)).numpy()
    moved = ffhq_quad(torch.from_numpy(turned(points, 25, 1.7, (40, -10)))).numpy()
    assert np.allclose(moved, turned(quad, 25, 1.7, (40, -10)), atol=1e-6)
    sides = np.linalg.norm(quad - np.roll(quad, 1, axis=0), axis=1)
    assert np.allclose(sides, sides[0])
    # A face of these proportions: twice the distance of the eyes is more than 1.8 times that to the mouth.
    assert sides[0] == pytest.approx(2 * max(2 * 64.0, 1.8 * 60.0))


def test_an_aligned_face_has_its_eyes_in_place():
    marks = turned(np.array(EYES_AND_MOUTH), 20, 0.9, (60, 10))
    image = torch.zeros(3, 320, 320)
    for x, y in marks[:2]:
        image[:, round(y) - 4 : round(y) + 5, round(x) - 4 : round(x) + 5] = 1.0
    crop = align_face(image, torch.from_numpy(marks), 128)
    rows, columns = (crop[0] > 0.4).nonzero(as_tuple=True)
    left, right = columns < 64, columns >= 64
    assert rows[left].float().mean() == pytest.approx(float(rows[right].float().mean()), abs=1.0)
    assert columns[left].float().mean() / 128 == pytest.approx(0.375, abs=0.03)
    assert columns[right].float().mean() / 128 == pytest.approx(0.625, abs=0.03)
    assert rows.float().mean() / 128 == pytest.approx(0.48, abs=0.03)


def test_a_face_that_is_elsewhere_is_refused():
    good = torch.tensor(EYES_AND_MOUTH)
    assert misalignment(good, 256) < 0.05
    check_aligned(good, 256)
    with pytest.raises(DataError, match="not aligned"):
        check_aligned(good + 60, 256)
    with pytest.raises(DataError, match="68, 2"):
        face_points(torch.zeros(7, 2))
    with pytest.raises(DataError, match="one point"):
        ffhq_quad(torch.zeros(5, 2))


def test_sixty_eight_points_are_read_in_dlibs_order():
    points = torch.zeros(68, 2)
    points[36:42], points[42:48] = torch.tensor(EYES_AND_MOUTH[0]), torch.tensor(EYES_AND_MOUTH[1])
    points[48], points[54] = torch.tensor(EYES_AND_MOUTH[3]), torch.tensor(EYES_AND_MOUTH[4])
    for ours, five in zip(face_points(points), face_points(torch.tensor(EYES_AND_MOUTH)), strict=True):
        assert torch.allclose(ours, five)


def test_an_image_of_the_generator_is_inverted(small):
    wanted = small.synthesize(small.sample(2, seed=12, truncation=0.7))
    _, far = invert(small, wanted, steps=1, candidates=1)
    code, error = invert(small, wanted, steps=60, candidates=32)
    assert code.codes.shape == (2, 8, 16)
    assert (error < 0.5 * far).all()
    with pytest.raises(DataError):
        invert(small, wanted[0])


def test_codes_are_read_from_every_file(tmp_path, small):
    import safetensors.torch

    codes = torch.randn(2, 8, 16)
    torch.save(codes, tmp_path / "many.pt")
    torch.save(codes[0], tmp_path / "one.pt")
    np.save(tmp_path / "w.npy", codes[:, 0].numpy())
    safetensors.torch.save_file({"w+": codes}, tmp_path / "many.safetensors")
    torch.save(small.split_styles(Latent("w+", codes)), tmp_path / "styles.pt")
    assert torch.equal(read_codes(tmp_path / "many.pt", small).codes, codes)
    assert torch.equal(read_codes(tmp_path / "one.pt", small).codes, codes[:1])
    assert read_codes(tmp_path / "w.npy", small).space == "w"
    assert torch.equal(read_codes(tmp_path / "many.safetensors", small).codes, codes)
    assert read_codes(tmp_path / "styles.pt", small).space == "s"


def test_files_that_hold_no_codes_are_refused(tmp_path, small):
    torch.save(torch.randn(2, 18, 512), tmp_path / "large.pt")
    torch.save(torch.full((1, 8, 16), float("nan")), tmp_path / "nan.pt")
    torch.save({"a": 1}, tmp_path / "dict.pt")
    np.save(tmp_path / "object.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "text.pt").write_text("no tensor")
    for path in tmp_path.iterdir():
        with pytest.raises(DataError):
            read_codes(path, small)


def test_photos_are_squared_or_aligned(tmp_path):
    from PIL import Image

    picture = np.zeros((60, 90, 3), np.uint8)
    picture[:, 15:75] = 200
    Image.fromarray(picture).save(tmp_path / "p.png")
    square = read_photo(tmp_path / "p.png", size=32)
    assert square.shape == (3, 32, 32) and square[:, 2:-2, 2:-2].min() > 0.75
    np.savetxt(tmp_path / "points.txt", np.array(EYES_AND_MOUTH) / 4)
    assert read_photo(tmp_path / "p.png", str(tmp_path / "points.txt"), 64).shape == (3, 64, 64)
    (tmp_path / "bad.txt").write_text("left right")
    with pytest.raises(DataError, match="landmarks"):
        read_photo(tmp_path / "p.png", str(tmp_path / "bad.txt"))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(DataError):
        read_photo(tmp_path / "broken.png")
