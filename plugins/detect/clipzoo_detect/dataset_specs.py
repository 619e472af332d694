"""The datasets for detection that have a name."""

from clipzoo.data.registry import DatasetSpec

COCO = DatasetSpec(
    name="coco",
    kind="detection",
    summary="COCO 2017: 80 classes with boxes and masks",
    open="clipzoo_detect.datasets:open_coco",
    licence="annotations CC BY 4.0; the photos keep the terms of their authors",
    homepage="https://cocodataset.org/#download",
    layout="annotations/instances_val2017.json and val2017/*.jpg; for training the same of train2017",
    probe="annotations",
)
LVIS = DatasetSpec(
    name="lvis",
    kind="detection",
    summary="LVIS v1: 1 203 classes with boxes and masks on images of COCO",
    open="clipzoo_detect.datasets:open_lvis",
    licence="annotations CC BY 4.0; the photos keep the terms of their authors",
    homepage="https://www.lvisdataset.org/dataset",
    layout="lvis_v1_val.json, lvis_v1_train.json, and the folders train2017 and val2017 of COCO",
    probe="lvis_v1_val.json",
)
VOC = DatasetSpec(
    name="voc",
    kind="detection",
    summary="Pascal VOC: 20 classes with boxes",
    open="clipzoo_detect.datasets:open_voc",
    licence="the photos keep the terms of Flickr",
    homepage="http://host.robots.ox.ac.uk/pascal/VOC/",
    layout="VOCdevkit/VOC2007/{Annotations,JPEGImages,ImageSets}",
    probe="VOCdevkit",
)
TOY = DatasetSpec(
    name="toy-detection",
    kind="detection",
    summary="the toy world: scenes of coloured shapes with boxes and masks, 16 of 128 combinations novel",
    open="clipzoo_detect.datasets:open_toy",
    licence="Apache-2.0",
    generated=True,
)
DETECTION_PATH = DatasetSpec(
    name="detection-path",
    kind="detection",
    summary="images of your own, by path, with annotations of COCO, LVIS or Pascal VOC if there are any",
    open="clipzoo_detect.datasets:open_path",
    paths=True,
)
