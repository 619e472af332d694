"""The datasets of images with depth that have a name."""

from clipzoo.data.registry import DatasetSpec

ROOMS = DatasetSpec(
    name="rooms",
    kind="depth",
    summary="the toy world: textured rooms with boxes, exact depth",
    open="clipzoo_depth.datasets:open_rooms",
    licence="Apache-2.0",
    generated=True,
)
NYUV2 = DatasetSpec(
    name="nyuv2",
    kind="depth",
    summary="NYU Depth v2, 1 449 indoor frames with Kinect depth; 654 in the test split",
    open="clipzoo_depth.nyu:open_nyuv2",
    licence="see its homepage",
    homepage="https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html",
    layout="nyu_depth_v2_labeled.mat and splits.mat, or <test|train>/<scene>/rgb_*.jpg and sync_depth_*.png",
)
KITTI = DatasetSpec(
    name="kitti",
    kind="depth",
    summary="street scenes with sparse depth from a lidar",
    open="clipzoo_depth.kitti:open_kitti",
    licence="CC BY-NC-SA 3.0",
    homepage="https://www.cvlibs.net/datasets/kitti/",
    layout="image/ and groundtruth_depth/ (depth selection), <drive>_sync/proj_depth/groundtruth/image_02 with the raw "
    "images, or image_2/ velodyne/ calib/",
)
DEPTH_PATH = DatasetSpec(
    name="depth-path",
    kind="depth",
    summary="images of your own, by path, with 16-bit depth PNG beside them or without",
    open="clipzoo_depth.datasets:open_path",
    paths=True,
)
