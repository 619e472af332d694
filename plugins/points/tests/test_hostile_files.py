"""Files that are broken, lie, or mean harm: an error that names file and reason, fast, in little memory."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from clipzoo_points import read_cloud
from clipzoo_points.datasets import open_path
from clipzoo_points.files import SUFFIXES
from clipzoo_points.hdf5 import read_arrays

from clipzoo.errors import DataError

HUGE = 10**12
POINTS = np.random.default_rng(0).normal(size=(40, 3)).astype("<f4")
PLY = "ply\nformat {format} 1.0\nelement vertex {n}\nproperty float x\nproperty float y\nproperty float z\n"
FACES = "element face {n}\nproperty list {length} int vertex_indices\n"
PCD = "VERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\n"
PCD += "WIDTH {n}\nHEIGHT 1\nPOINTS {n}\nDATA {data}\n"


def rows(points) -> str:
    return "".join(" ".join(f"{value:.6f}" for value in point) + "\n" for point in points)


def npy(points: np.ndarray) -> bytes:
    import io

    buffer = io.BytesIO()
    np.save(buffer, points)
    return buffer.getvalue()


def npy_header(shape: tuple[int, ...], kind: str = "<f4") -> bytes:
    import io

    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": kind, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def zipped(entries: dict[str, bytes]) -> bytes:
    import io

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


COLUMNS = np.ascontiguousarray(POINTS.T).tobytes()
PACKED = b"".join(b"\x1f" + COLUMNS[place : place + 32] for place in range(0, len(COLUMNS), 32))
VALID = {
    "cloud.off": f"OFF\n40 2 0\n{rows(POINTS)}3 0 1 2\n4 0 1 2 39\n".encode(),
    "ascii.ply": (PLY.format(format="ascii", n=40) + "end_header\n" + rows(POINTS)).encode(),
    "binary.ply": (PLY.format(format="binary_little_endian", n=40) + "end_header\n").encode() + POINTS.tobytes(),
    "ascii.pcd": (PCD.format(n=40, data="ascii") + rows(POINTS)).encode(),
    "binary.pcd": PCD.format(n=40, data="binary").encode() + POINTS.tobytes(),
    "packed.pcd": PCD.format(n=40, data="binary_compressed").encode()
    + struct.pack("<II", len(PACKED), len(COLUMNS))
    + PACKED,
    "cloud.npy": npy(POINTS),
    "cloud.npz": zipped({"points.npy": npy(POINTS)}),
    "cloud.pts": f"40\n{rows(POINTS)}".encode(),
}

BAD = {
    # no points, or not points
    "none.off": ("OFF\n0 0 0\n", "no points"),
    "none.ply": (PLY.format(format="ascii", n=0) + "end_header\n", r"none\.ply"),
    "none.pcd": (PCD.format(n=0, data="binary"), "no points"),
    "none.npy": (npy(np.zeros((0, 3), np.float32)), "no points"),
    "none.obj": ("# nothing\n", '"v"'),
    "blank.xyz": ("\n\n\n", "no lines"),
    "two_columns.xyz": ("0 1\n2 3\n", "2 columns"),
    "words.txt": ("x y z\n0 0 0\n", "words.txt"),
    "ragged.xyz": ("0 0 0\n1 1\n", "ragged.xyz"),
    "flat.npy": (npy(np.zeros(9, np.float32)), r"shape \(9,\)"),
    "two.npy": (npy(np.zeros((9, 2), np.float32)), r"shape \(9, 2\)"),
    "complex.npy": (npy(np.zeros((9, 3), complex)), "complex128"),
    "texts.npy": (npy(np.full((9, 3), "a")), "<U1"),
    "objects.npy": (npy(np.full((9, 3), None, dtype=object)), "Python objects"),
    "objects.npz": (zipped({"points.npy": npy(np.full((9, 3), None, dtype=object))}), "Python objects"),
    "pickle.npy": (b"\x80\x04\x95" + b"x" * 40, "pickle.npy"),
    "no_zip.npz": (b"PK\x03\x04nothing", "no_zip.npz"),
    "no_array.npz": (zipped({"points.npy": b"hello"}), "no_array.npz"),
    # values
    "nan.xyz": ("0 0 0\n1 nan 1\n2 2 2\n", r"1 of 3 points .* point 1"),
    "infinite.npy": (npy(np.full((5, 3), np.inf, np.float32)), "5 of 5 points"),
    "too_large.xyz": ("1e39 0 0\n0 0 0\n", "1 of 2 points"),
    "nan.pcd": (PCD.format(n=2, data="ascii") + "nan nan nan\n0 0 0\n", "1 of 2 points"),
    "nan.off": ("OFF\n3 1 0\n0 0 nan\n1 0 0\n0 1 0\n3 0 1 2\n", "NaN"),
    # counts and faces
    "vertices.off": ("OFF\n5 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", "vertices are there"),
    "faces.off": ("OFF\n3 2 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", "1 of 2 faces"),
    "index.off": ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 3\n", "vertex 3"),
    "negative_index.off": ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 -1\n", "a face names vertex"),
    "negative.off": ("OFF\n-3 1 0\n0 0 0\n", "-3 vertices"),
    "not_off.off": ("PLY\n", '"OFF"'),
    "counts.off": ("OFF\n12\n", "counts are missing"),
    "words.off": ("OFF\nthree one zero\n0 0 0\n", r"words\.off"),
    "no_area.off": ("OFF\n3 1 0\n1 1 1\n1 1 1\n1 1 1\n3 0 1 2\n", "no area"),
    "count.pts": ("9\n0 0 0\n1 0 0\n0 1 0\n", "3 of 9 points"),
    "count.pcd": (PCD.format(n=3, data="ascii") + "0 0 0\n1 1 1\n", "6 values follow"),
    "fields.pcd": (PCD.format(n=1, data="ascii").replace("x y z", "x y w") + "0 0 0\n", "x, y and z"),
    "types.pcd": (PCD.format(n=1, data="binary").replace("TYPE F F F", "TYPE F F") + "0" * 12, r"types\.pcd"),
    "odd_type.pcd": (
        PCD.format(n=1, data="binary").replace("SIZE 4 4 4", "SIZE 4 4 3") + "0" * 12,
        "x, y and z",
    ),
    "data.pcd": (PCD.format(n=1, data="zstd"), '"zstd"'),
    "negative.pcd": (PCD.format(n=-4, data="binary"), "-4"),
    "no_header.pcd": ("FIELDS x y z\n", "no header"),
    "no_points.pcd": ("FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nDATA ascii\n0 0 0\n", "POINTS"),
    "before_the_start.pcd": (
        PCD.format(n=1, data="binary_compressed").encode() + struct.pack("<II", 4, 12) + b"\x00a\xe0\xff",
        "broken",
    ),
    "no_header.ply": ("ply\nformat ascii 1.0\n", "end_header"),
    "count.ply": (PLY.format(format="ascii", n=5) + "end_header\n0 0 0\n1 1 1\n", r"count\.ply"),
    "negative.ply": (PLY.format(format="ascii", n=-5) + "end_header\n0 0 0\n", "element vertex -5"),
    "index.ply": (
        PLY.format(format="ascii", n=3)
        + FACES.format(n=1, length="uchar")
        + "end_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n",
        r"index\.ply",
    ),
    "index.obj": ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", r"index\.obj"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named_with_the_reason(tmp_path, name):
    content, reason = BAD[name]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=reason) as caught:
        read_cloud(path)
    assert str(path) in caught.value.what
    assert len(caught.value.message()) < 600 + 2 * len(str(path))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_empty_files(tmp_path, suffix):
    path = tmp_path / f"cloud{suffix}"
    path.touch()
    with pytest.raises(DataError, match="the file is empty"):
        read_cloud(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_folders_and_absent_files_are_no_clouds(tmp_path, suffix):
    with pytest.raises(DataError, match="No such file"):
        read_cloud(tmp_path / f"absent{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(DataError, match=f"folder{suffix}"):
        read_cloud(tmp_path / f"folder{suffix}")


@pytest.mark.parametrize("name", VALID)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_truncated_files(tmp_path, name, share):
    assert len(read_cloud(write(tmp_path / name, VALID[name]), points=40)) == 40
    path = write(tmp_path / f"cut_{name}", VALID[name][: int(share * len(VALID[name]))])
    with pytest.raises(DataError) as caught:
        read_cloud(path)
    assert str(path) in caught.value.what


@pytest.mark.parametrize("name", VALID)
def test_damaged_bytes_give_an_error_or_a_cloud(tmp_path, name):
    generator = np.random.default_rng(len(name))
    for attempt in range(25):
        content = bytearray(VALID[name])
        for place in generator.integers(len(content), size=4):
            content[place] = generator.integers(256)
        path = write(tmp_path / f"{attempt}_{name}", bytes(content))
        try:
            cloud = read_cloud(path, points=40)
        except DataError as error:
            assert str(path) in error.what
        else:
            assert cloud.ndim == 2
            assert cloud.shape[1] == 3
            assert np.isfinite(cloud).all()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_materials_of_an_obj_are_not_opened(tmp_path, monkeypatch):
    content = "mtllib /etc/hostname\nmtllib other.mtl\n" + "".join(f"v {row}\n" for row in rows(POINTS).splitlines())
    path = write(tmp_path / "cloud.obj", f"{content}usemtl red\nf 1 2 3\n".encode())
    write(tmp_path / "other.mtl", b"newmtl red\nmap_Kd /etc/hostname\n")
    opened = set()
    sys.addaudithook(lambda event, args: opened.add(str(args[0])) if event == "open" else None)
    assert read_cloud(path, points=16).shape == (16, 3)
    assert str(path) in opened
    assert not {name for name in opened if name.endswith((".mtl", "hostname"))}


def hdf5(path: Path, **changes) -> Path:
    """A file of two clouds; a change is a function that puts something else in the place of a dataset."""
    content = {"data": POINTS[None].repeat(2, 0), "label": np.array([0, 1])}
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            if name in changes:
                changes[name](file)
            else:
                file[name] = values
    return path


def external_storage(file):
    raw = Path(file.filename).with_suffix(".raw")
    raw.write_bytes(b"\0" * 4096)
    file.create_dataset("data", (2, 40, 3), "<f4", external=[(str(raw), 0, 960)])


def external_link(file):
    other = hdf5(Path(file.filename).with_name("other.h5"))
    file["data"] = h5py.ExternalLink(other, "/data")


def soft_link(file):
    file["elsewhere"] = POINTS[None].repeat(2, 0)
    file["data"] = h5py.SoftLink("/elsewhere")


def virtual(file):
    other = hdf5(Path(file.filename).with_name("other.h5"))
    layout = h5py.VirtualLayout((2, 40, 3), "<f4")
    layout[:] = h5py.VirtualSource(other, "data", (2, 40, 3))
    file.create_virtual_dataset("data", layout)


def hole(file):
    file.create_dataset("data", (HUGE, 2048, 3), "<f4", chunks=(1, 2048, 3))


HDF5 = {
    "external_storage": ({"data": external_storage}, "lies in other files"),
    "external_link": ({"data": external_link}, "is a link"),
    "soft_link": ({"data": soft_link}, "is a link"),
    "dangling_link": (
        {"data": lambda file: file.__setitem__("data", h5py.SoftLink("/nowhere"))},
        "is a link",
    ),
    "virtual": ({"data": virtual}, "lies in other files"),
    "hole": ({"data": hole}, "claims"),
    "group": ({"data": lambda file: file.create_group("data")}, "is a Group"),
    "absent": ({"data": lambda file: None}, 'no dataset called "data"'),
    "texts": ({"data": lambda file: file.create_dataset("data", data=np.full((2, 4, 3), b"a"))}, "numbers"),
    "flat": ({"data": lambda file: file.create_dataset("data", data=np.zeros((2, 3)))}, r"shape \(2, 3\)"),
    "columns": (
        {"data": lambda file: file.create_dataset("data", data=np.zeros((2, 5, 2)))},
        r"shape \(2, 5, 2\)",
    ),
    "no_points": (
        {"data": lambda file: file.create_dataset("data", data=np.zeros((2, 0, 3)))},
        r"shape \(2, 0, 3\)",
    ),
    "labels": ({"label": lambda file: file.create_dataset("label", data=np.zeros(5))}, "5 labels"),
}


@pytest.mark.parametrize("name", HDF5)
def test_hdf5_files_that_reach_out_or_lie(tmp_path, name):
    changes, reason = HDF5[name]
    path = hdf5(tmp_path / f"{name}.h5", **changes)
    with pytest.raises(DataError, match=reason) as caught:
        open_path(path)
    assert str(path) in caught.value.what


def test_links_of_hdf5_are_not_even_opened(tmp_path):
    path = hdf5(tmp_path / "link.h5", data=external_link)
    # A file that cannot be opened as HDF5 would otherwise be reported as absent or broken.
    (tmp_path / "other.h5").write_bytes(b"nothing")
    with pytest.raises(DataError, match="is a link"):
        read_arrays(path, ("data",))


@pytest.mark.parametrize("share", [0.02, 0.4, 0.9])
def test_truncated_hdf5(tmp_path, share):
    content = hdf5(tmp_path / "whole.h5").read_bytes()
    path = write(tmp_path / "cut.h5", content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"cut\.h5: the file is broken"):
        open_path(path)


def test_damaged_hdf5(tmp_path):
    content, generator = hdf5(tmp_path / "whole.h5").read_bytes(), np.random.default_rng(0)
    for attempt in range(40):
        damaged = bytearray(content)
        for place in generator.integers(len(content), size=8):
            damaged[place] = generator.integers(256)
        path = write(tmp_path / f"{attempt}.h5", bytes(damaged))
        try:
            dataset = open_path(path)
            for index in range(len(dataset)):
                assert np.isfinite(dataset.cloud(index)).all()
        except DataError as error:
            assert f"{attempt}.h5" in error.what


def test_an_empty_folder_says_what_belongs_there(tmp_path):
    with pytest.raises(DataError, match="holds no point clouds") as caught:
        open_path(tmp_path)
    assert str(tmp_path) in caught.value.what
    assert ".ply" in caught.value.expected


# Each file is read in one process that may not take more than 2 GB beyond what its imports took.
MEASURE = """
import json, resource, sys, time
from pathlib import Path
import h5py, trimesh, numpy
from clipzoo.errors import DataError
from clipzoo_points.datasets import open_path
from clipzoo_points.files import read_cloud
read_cloud(sys.argv[1])
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (2 << 30), size + (2 << 30)))
found = {}
for name in sys.argv[2:]:
    path, started = Path(name), time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read_cloud(path) if path.suffix != ".h5" else open_path(path)
        told = "no error"
    except DataError as error:
        told = error.what
    except BaseException as error:
        told = repr(error)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    found[path.name] = [told, time.perf_counter() - started, grown / 1024]
print(json.dumps(found))
"""


def bombs(folder: Path) -> list[Path]:
    """Small files that claim 10^12 points, or that swell when they are unpacked."""
    count = struct.pack("<I", 2**32 - 1)
    mesh = PLY.format(format="binary_little_endian", n=3) + FACES.format(n=2, length="uint") + "end_header\n"
    contents = {
        "vertices.off": f"OFF\n{HUGE} 0 0\n0 0 0\n",
        "faces.off": f"OFF\n3 {HUGE} 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n",
        "polygon.off": f"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n{HUGE} 0 1 2\n",
        "ascii.ply": PLY.format(format="ascii", n=HUGE) + "end_header\n0 0 0\n",
        "binary.ply": PLY.format(format="binary_little_endian", n=HUGE) + "end_header\n" + "0" * 36,
        "faces.ply": PLY.format(format="ascii", n=1) + FACES.format(n=HUGE, length="uchar") + "end_header\n0 0 0\n",
        "list.ply": mesh.encode() + POINTS[:3].tobytes() + count + b"\0" * 8,
        "ascii.pcd": PCD.format(n=HUGE, data="ascii") + "0 0 0\n",
        "binary.pcd": PCD.format(n=HUGE, data="binary") + "0" * 36,
        "packed.pcd": PCD.format(n=HUGE, data="binary_compressed").encode() + count + count + b"\0" * 36,
        "count.pcd": PCD.format(n=1, data="binary").replace("COUNT 1 1 1", f"COUNT {HUGE} 1 1") + "0" * 36,
        "shape.npy": npy_header((HUGE, 3)) + b"\0" * 36,
        "nothing_each.npy": npy_header((HUGE, 3), "<U0") + b"\0" * 36,
        "shape.npz": zipped({"points.npy": npy_header((HUGE, 3)) + b"\0" * 36}),
        "count.pts": f"{HUGE}\n0 0 0\n1 0 0\n",
        # Copies of copies: as much as a header may claim, from a few megabytes.
        "swells.pcd": PCD.format(n=20_000_000, data="binary_compressed").encode()
        + struct.pack("<II", 2 + 3 * 900_000, 240_000_000)
        + b"\0\0"
        + b"\xe0\xff\0" * 900_000,
    }
    for name, content in contents.items():
        write(folder / name, content if isinstance(content, bytes) else content.encode())
    with zipfile.ZipFile(folder / "zeros.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("points.npy", "w") as entry:
            entry.write(npy_header((25_000_000, 3)))
            for _ in range(300):
                entry.write(b"\0" * 1_000_000)
    hdf5(folder / "hole.h5", data=hole)
    hdf5(folder / "labels.h5", label=lambda file: file.create_dataset("label", (HUGE,), "<i8", chunks=(64,)))
    hdf5(
        folder / "filled.h5",
        data=lambda file: file.create_dataset("data", (2, 40_000_000, 3), "<f4", chunks=(1, 64, 3)),
    )
    os.mkfifo(folder / "waits")
    hdf5(
        folder / "pipe.h5",
        data=lambda file: file.__setitem__("data", h5py.ExternalLink(str(folder / "waits"), "/data")),
    )
    return [path for path in sorted(folder.iterdir()) if path.is_file()]


def test_bombs_are_refused_fast_and_in_little_memory(tmp_path):
    folder = tmp_path / "bombs"
    folder.mkdir()
    paths = bombs(folder)
    good = write(tmp_path / "good.ply", VALID["ascii.ply"])
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(good), *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=60,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "OMP_NUM_THREADS": "1",
        },
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {path.name for path in paths}
    for name, (told, seconds, megabytes) in found.items():
        assert told.startswith(str(folder / name)), f"{name}: {told}"
        assert seconds < 2, name
        assert megabytes < 500, name
