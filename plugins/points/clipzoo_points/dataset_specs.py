"""The datasets of point clouds that have a name."""

from clipzoo.data.downloads import Archive
from clipzoo.data.registry import DatasetSpec

_MODELNET_TERMS = "academic research only; the CAD models belong to their authors"

MODELNET10 = DatasetSpec(
    name="modelnet10",
    kind="points",
    summary="4 899 CAD models of 10 kinds of furniture",
    open="clipzoo_points.datasets:open_modelnet10",
    licence=_MODELNET_TERMS,
    homepage="https://modelnet.cs.princeton.edu",
    archives=(
        Archive(
            "ModelNet10.zip",
            (
                "https://vision.princeton.edu/projects/2014/3DShapeNets/ModelNet10.zip",
                "https://3dvision.princeton.edu/projects/2014/3DShapeNets/ModelNet10.zip",
            ),
        ),
    ),
    layout="ModelNet10/<class>/<train|test>/*.off",
    probe="ModelNet10",
)
MODELNET40 = DatasetSpec(
    name="modelnet40",
    kind="points",
    summary="12 308 CAD models of 40 categories, 2048 points each",
    open="clipzoo_points.datasets:open_modelnet40",
    licence=_MODELNET_TERMS,
    homepage="https://modelnet.cs.princeton.edu",
    archives=(
        Archive(
            "modelnet40_ply_hdf5_2048.zip",
            ("https://shapenet.cs.stanford.edu/media/modelnet40_ply_hdf5_2048.zip",),
        ),
    ),
    layout="modelnet40_ply_hdf5_2048/{shape_names,train_files,test_files}.txt and ply_data_*.h5",
    probe="modelnet40_ply_hdf5_2048",
)
SCANOBJECTNN = DatasetSpec(
    name="scanobjectnn",
    kind="points",
    summary="2 902 scanned objects of 15 categories",
    open="clipzoo_points.datasets:open_scanobjectnn",
    licence="its terms of use must be accepted at its homepage",
    homepage="https://hkust-vgd.github.io/scanobjectnn/",
    layout="h5_files/main_split/*.h5 and h5_files/main_split_nobg/*.h5",
    probe="h5_files",
)
SHAPES = DatasetSpec(
    name="shapes",
    kind="points",
    summary="the toy world: procedural shapes of the 40 ModelNet categories",
    open="clipzoo_points.datasets:open_shapes",
    licence="Apache-2.0",
    generated=True,
)
POINTS_PATH = DatasetSpec(
    name="points-path",
    kind="points",
    summary="clouds and meshes of your own, by path",
    open="clipzoo_points.datasets:open_path",
    paths=True,
)
