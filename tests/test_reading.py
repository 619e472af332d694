import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from clipzoo.errors import DataError
from clipzoo.images.reading import decode, open_header, read_image, read_picture, read_pixels


def content(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(width: int = 64, height: int = 48, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def huge_png(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_files_come_back_as_they_were(kind) -> None:
    image = photo()
    np.testing.assert_array_equal(read_pixels(content(image, kind)), np.asarray(image))


def test_path_text_and_open_file_are_the_same(tmp_path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content(photo(), "JPEG"))
    expected = np.asarray(Image.open(path).convert("RGB"))
    with path.open("rb") as file:
        for source in (path, str(path), path.read_bytes(), file):
            np.testing.assert_array_equal(read_pixels(source), expected)


def test_one_pixel() -> None:
    assert read_image(content(Image.new("RGB", (1, 1), (1, 2, 3)))).getpixel((0, 0)) == (1, 2, 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found = read_picture(content(Image.fromarray(values), kind))
    expected = np.floor(values.astype(np.float64) / 65535 * 255 + 0.5)
    for channel in range(3):
        np.testing.assert_array_equal(np.asarray(found.image)[..., channel], expected)
    assert found.notes == ("16 bit scaled to 8",)


def test_sixteen_bit_big_endian() -> None:
    values = np.array([[0, 257, 65535]], np.uint16)
    pgm = b"P5 3 1 65535\n" + values.astype(">u2").tobytes()
    assert read_pixels(pgm)[0, :, 0].tolist() == [0, 1, 255]


def test_cmyk() -> None:
    inks = np.zeros((8, 8, 4), np.uint8)
    inks[..., 0] = 255  # cyan alone
    pixel = read_pixels(content(Image.fromarray(inks, "CMYK"), "TIFF"))[4, 4].tolist()
    assert pixel[0] < 40 and pixel[1] > 200 and pixel[2] > 200


def test_palette_without_transparency() -> None:
    image = photo().quantize(16)
    np.testing.assert_array_equal(read_pixels(content(image)), np.asarray(image.convert("RGB")))


def test_palette_with_transparency_is_laid_on_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    found = read_picture(content(image, transparency=bytes([255, 0])))
    assert [found.image.getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (255, 255, 255)]
    assert found.notes == ("transparency on white",)


@pytest.mark.parametrize(("mode", "colour"), [("RGBA", (10, 20, 30, 64)), ("LA", (10, 64))])
def test_alpha_blends_with_white(mode, colour) -> None:
    pixel = read_pixels(content(Image.new(mode, (3, 3), colour)))[1, 1].astype(float)
    own = np.array(colour[:3] if mode == "RGBA" else (colour[0],) * 3)
    np.testing.assert_allclose(pixel, own * 64 / 255 + 255 * (1 - 64 / 255), atol=1)


def test_opaque_alpha_changes_nothing() -> None:
    image = photo()
    opaque = image.copy()
    opaque.putalpha(255)
    found = read_picture(content(opaque))
    np.testing.assert_array_equal(np.asarray(found.image), np.asarray(image))
    assert found.notes == ()


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_has_three_equal_channels(mode) -> None:
    image = photo().convert(mode)
    grey = np.asarray(image.convert("L"))
    np.testing.assert_array_equal(read_pixels(content(image)), np.stack([grey] * 3, -1))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_an_animation(kind) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    options = {"lossless": True} if kind == "WEBP" else {}
    found = read_picture(content(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert found.image.getpixel((4, 4)) == (250, 0, 0)
    assert found.notes == ("first of several frames",)


# Stored pixels -> shown pixels for the eight EXIF orientations, written out with NumPy.
TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_orientation(orientation) -> None:
    image = photo(16, 8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = read_picture(content(image, exif=exif))
    np.testing.assert_array_equal(np.asarray(found.image), TURNS[orientation](np.asarray(image)))
    assert (found.width, found.height) == found.image.size


def test_nonsense_in_exif_is_ignored() -> None:
    found = read_picture(content(photo(), "JPEG", exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff" + b"\x01\x12" * 9))
    assert found.image.size == (64, 48)


@pytest.mark.parametrize("size", [(50_000, 50_000), (100_000, 900), (2**31 - 1, 2**31 - 1)])
def test_a_huge_header_is_refused_before_anything_is_decoded(size, monkeypatch) -> None:
    def decode(*_):
        raise AssertionError("its pixels were asked for")

    monkeypatch.setattr("clipzoo.images.reading.decode", decode)
    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    with pytest.raises(DataError, match=r"too large|cannot be decoded"):
        read_image(huge_png(*size))


def test_max_pixels() -> None:
    image = content(photo(40, 30))
    assert read_image(image, max_pixels=1200).size == (40, 30)
    with pytest.raises(DataError, match="40 x 30") as caught:
        read_image(image, max_pixels=1199)
    assert "1,199" in caught.value.message()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_cut_off_anywhere(kind, share, tmp_path) -> None:
    whole = content(photo(200, 150), kind)
    path = tmp_path / "cut.bin"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=r"cut\.bin"):
        read_image(path)


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bytes_give_pixels_or_a_data_error(seed) -> None:
    generator = np.random.default_rng(seed)
    kind = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "ICO")[seed % 8]
    data = np.frombuffer(content(photo(), kind), np.uint8).copy()
    places = generator.integers(0, len(data) if seed % 3 else 64, 12)
    data[places] = generator.integers(0, 256, 12)
    try:
        image = read_image(data.tobytes())
    except DataError:
        return
    assert image.mode == "RGB" and image.width * image.height > 0


@pytest.mark.parametrize("data", [b"hello", b"\xff\xd8\xff", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_what_is_no_image(data, tmp_path) -> None:
    path = tmp_path / "note.jpg"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"note\.jpg"):
        read_image(path)


def test_missing_empty_folder_and_nul(tmp_path) -> None:
    (tmp_path / "empty.png").touch()
    for path, reason in [
        ("none.png", "No such file"),
        ("empty.png", "is empty"),
        (".", "is no file"),
        ("a\0b", "cannot be read"),
    ]:
        with pytest.raises(DataError, match=reason):
            read_image(str(tmp_path / path))


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_a_device_is_not_read() -> None:
    with pytest.raises(DataError, match="is no file"):
        read_image("/dev/zero")


@pytest.mark.parametrize(
    "image", [Image.new("F", (4, 4), 0.5), Image.new("I", (4, 4), 1 << 20)], ids=["float", "32 bit"]
)
def test_kinds_without_a_range_are_refused(image) -> None:
    with pytest.raises(DataError, match="range is not known"):
        read_image(content(image, "TIFF"))


def test_the_header_alone_gives_the_size() -> None:
    header = open_header(content(photo(40, 30)))
    assert (header.width, header.height, header.image.mode) == (40, 30, "RGB")
    assert header.decoding_bytes == 40 * 30 * 4


def test_a_shrunk_photo_keeps_its_size_on_record() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    header = open_header(content(photo(1600, 1200), "JPEG", exif=exif))
    header.shrink(300)
    assert header.decoding_bytes == 400 * 300 * 8
    found = decode(header)
    assert (found.image.size, found.width, found.height) == ((300, 400), 1200, 1600)
    assert found.notes == ("shrunk to 400 x 300 px by its decoder", "turned upright")
