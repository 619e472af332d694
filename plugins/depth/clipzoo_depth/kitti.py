"""KITTI: street scenes with sparse depth, from lidar points or from the annotated depth maps."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from clipzoo.errors import DataError
from clipzoo.images.reading import read_pixels
from clipzoo_depth.datasets import DepthDataset, DepthItem, View, checked_view
from clipzoo_depth.depth_files import plausible, read_depth
from clipzoo_depth.point_cloud import Intrinsics

_MAX_SCAN_BYTES = 64 << 20
_NEAREST_M = 1e-3


def has_lidar(folder: Path) -> bool:
    """Whether a folder looks like KITTI's: lidar points, or its depth maps."""
    return (
        any(folder.glob("*.bin"))
        or (folder / "velodyne").is_dir()
        or (folder / "training" / "velodyne").is_dir()
        or bool(_selection(folder))
        or any(folder.glob("*_sync/proj_depth/groundtruth"))
    )


def open_kitti(path: Path, *, split: str = "test", **_: Any) -> DepthDataset:
    """Frames of KITTI, in one of four layouts.

    - depth selection: ``image/``, ``groundtruth_depth/`` and ``intrinsics/``;
    - annotated depth: ``[split/]<drive>_sync/proj_depth/groundtruth/image_02/*.png`` with the raw images in
      ``<date>/<drive>_sync/image_02/data`` or ``<drive>_sync/image_02/data``;
    - detection: ``[training/]image_2/``, ``velodyne/`` and ``calib/``;
    - one folder with ``X.png``, ``X.bin`` and ``calib.json`` or ``X.txt``.

    Args:
        path: the folder.
        split: folder of the annotated depth; ``test`` takes ``val`` where there is no such folder.

    Raises:
        DataError: if none of them is there.
    """
    path = Path(path)
    items = _selected(path) or _annotated(path, split) or _detection(path) or _flat(path)
    if not items:
        raise DataError(
            f"{path} holds no frames of KITTI with depth",
            expected="image/ with groundtruth_depth/, proj_depth/ with the raw images, or image_2/ with velodyne/",
        )
    return DepthDataset("kitti", split, tuple(items), "kitti-garg", remark="sparse depth: most pixels have none")


def project_lidar(
    points: Float[np.ndarray, "points 3"], matrix: Float[np.ndarray, "3 4"], height: int, width: int
) -> Float[np.ndarray, "height width"]:
    """Lidar points as a sparse depth map; of several points in a pixel the nearest counts.

    Args:
        points: in the frame of the lidar, m.
        matrix: from there to homogeneous pixels, whose third coordinate is depth.
        height: of the image, px.
        width: of the image, px.
    """
    seen = np.concatenate([points, np.ones((len(points), 1))], 1) @ matrix.T
    seen = seen[seen[:, 2] > _NEAREST_M]
    # Far outside is outside: a whole number holds no more.
    places = np.nan_to_num(np.rint(seen[:, :2] / seen[:, 2:]), nan=-1.0).clip(-1, max(height, width))
    column, row = places.astype(np.int64).T
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    depth = np.full((height, width), np.inf)
    np.minimum.at(depth, (row[inside], column[inside]), seen[inside, 2])
    return np.where(np.isfinite(depth), depth, 0.0).astype(np.float32)


def _selection(path: Path) -> Path | None:
    places = (path, path / "val_selection_cropped", path / "depth_selection" / "val_selection_cropped")
    return next((place for place in places if (place / "groundtruth_depth").is_dir()), None)


def _selected(path: Path) -> list[DepthItem]:
    root = _selection(path)
    if root is None:
        return []
    items = []
    for depth in sorted((root / "groundtruth_depth").glob("*.png")):
        name = depth.name.replace("_groundtruth_depth_", "_image_")
        told = root / "intrinsics" / f"{Path(name).stem}.txt"
        items.append(DepthItem(name, partial(_mapped, root / "image" / name, depth, told)))
    return items


def _annotated(path: Path, split: str) -> list[DepthItem]:
    root = next((place for place in (path / split, path / "val", path) if any(place.glob("*_sync/proj_depth"))), None)
    if root is None:
        return []
    items = []
    for depth in sorted(root.glob("*_sync/proj_depth/groundtruth/image_02/*.png")):
        drive = depth.parents[3].name
        raw = [path / drive[:10] / drive, path / "raw" / drive[:10] / drive, depth.parents[3]]
        images = [place / "image_02" / "data" / f"{depth.stem}{suffix}" for place in raw for suffix in (".png", ".jpg")]
        image = next((place for place in images if place.is_file()), images[0])
        items.append(DepthItem(f"{drive}/{depth.stem}", partial(_mapped, image, depth, None)))
    return items


def _mapped(image: Path, depth: Path, told: Path | None) -> View:
    if not image.is_file():
        raise DataError(f"{depth} has no image", expected=str(image))
    intrinsics: Intrinsics | None = None
    if told is not None and told.is_file():
        try:
            numbers = _numbers(told.read_text(encoding="utf-8"), told)
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{told} cannot be read: {error}", expected="nine numbers") from error
        if len(numbers) == 9:
            camera = _matrix(numbers, told, 3, 3)
            intrinsics = (float(camera[0, 0]), float(camera[1, 1]), float(camera[0, 2]), float(camera[1, 2]))
    return checked_view(read_pixels(image), read_depth(depth, "m/256"), str(image), intrinsics)


def _detection(path: Path) -> list[DepthItem]:
    root = path / "training" if (path / "training").is_dir() else path
    scans = sorted((root / "velodyne").glob("*.bin"))
    return [
        DepthItem(
            scan.stem,
            partial(_scanned, _image_named(root / "image_2", scan.stem), scan, root / "calib" / f"{scan.stem}.txt"),
        )
        for scan in scans
    ]


def _flat(path: Path) -> list[DepthItem]:
    items = []
    for scan in sorted(path.glob("*.bin")):
        shared = path / "calib.json"
        told = shared if shared.is_file() else path / f"{scan.stem}.txt"
        items.append(DepthItem(scan.stem, partial(_scanned, _image_named(path, scan.stem), scan, told)))
    return items


def _image_named(folder: Path, stem: str) -> Path:
    names = [folder / f"{stem}{suffix}" for suffix in (".png", ".jpg")]
    return next((name for name in names if name.is_file()), names[0])


def _scanned(image: Path, scan: Path, told: Path) -> View:
    if not image.is_file():
        raise DataError(f"{scan} has no image", expected=str(image))
    pixels = read_pixels(image)
    camera, to_camera = read_calibration(told)
    points = _read_scan(scan)
    depth = project_lidar(points, camera @ to_camera, *pixels.shape[:2])
    plausible(depth, f"the projection of {scan}")
    return checked_view(pixels, depth, str(image), (camera[0, 0], camera[1, 1], camera[0, 2], camera[1, 2]))


def _read_scan(path: Path) -> np.ndarray:
    """Points of a scan, m; each is four little-endian floats, the last one reflectance."""
    try:
        size = path.stat().st_size
        if size > _MAX_SCAN_BYTES or size % 16:
            raise DataError(f"{path} has {size:,} bytes", expected=f"16 a point, at most {_MAX_SCAN_BYTES:,}")
        points = np.fromfile(path, "<f4").reshape(-1, 4)[:, :3]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return points[np.isfinite(points).all(1)].astype(np.float64)


def read_calibration(path: Path) -> tuple[Float[np.ndarray, "3 4"], Float[np.ndarray, "4 4"]]:
    """Projection of the colour camera, and the way from the lidar to it.

    Args:
        path: ``calib/X.txt`` of the detection benchmark (``P2``, ``R0_rect``, ``Tr_velo_to_cam``), or JSON with
            ``cam2img`` and ``lidar2cam``.

    Raises:
        DataError: if a matrix is missing or has another size.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".json":
            stored = json.loads(text)
            return _matrix(stored["cam2img"], path, 3, 4), _matrix(stored["lidar2cam"], path, 4, 4)
        lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        camera = _matrix(_numbers(lines["P2"], path), path, 3, 4)
        turn = np.eye(4)
        turn[:3, :3] = _matrix(_numbers(lines["R0_rect"], path), path, 3, 3)
        lidar = np.eye(4)
        lidar[:3] = _matrix(_numbers(lines["Tr_velo_to_cam"], path), path, 3, 4)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path} is no calibration: {type(error).__name__}: {error}",
            expected="P2, R0_rect and Tr_velo_to_cam, or JSON with cam2img and lidar2cam",
        ) from error
    return camera, turn @ lidar


def _numbers(text: str, path: Path) -> list[float]:
    try:
        return [float(word) for word in text.split()]
    except ValueError as error:
        raise DataError(f"{path} holds what is no number: {error}") from error


def _matrix(values: Any, path: Path, rows: int, columns: int) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 2:
        array = array[:rows, :columns]
    if array.size != rows * columns or not np.isfinite(array).all():
        raise DataError(f"{path} has a matrix of the shape {array.shape}", expected=f"{rows} x {columns} numbers")
    return array.reshape(rows, columns)
