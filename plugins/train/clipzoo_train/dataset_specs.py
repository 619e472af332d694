"""The datasets of captions that have a name."""

from clipzoo.data.registry import DatasetSpec

FLICKR8K = DatasetSpec(
    name="flickr8k",
    kind="captions",
    summary="8 000 photos with five captions each",
    open="clipzoo_train.caption_files:open_flickr",
    licence="non-commercial research and education",
    homepage="https://hockenmaier.cs.illinois.edu/8k-pictures.html",
    layout="captions.txt (image,caption) and a folder Images",
    probe="captions.txt",
)
FLICKR30K = DatasetSpec(
    name="flickr30k",
    kind="captions",
    summary="31 000 photos with five captions each",
    open="clipzoo_train.caption_files:open_flickr",
    licence="non-commercial research and education",
    homepage="https://shannon.cs.illinois.edu/DenotationGraph/",
    layout="results.csv (image_name| comment_number| comment) and a folder flickr30k_images",
    probe="results.csv",
)
COCO_CAPTIONS = DatasetSpec(
    name="coco-captions",
    kind="captions",
    summary="COCO 2017: 118 000 training and 5 000 validation photos with five captions each",
    open="clipzoo_train.caption_files:open_coco",
    licence="annotations CC BY 4.0; photos under Flickr's terms",
    homepage="https://cocodataset.org",
    layout="annotations/captions_train2017.json and captions_val2017.json, folders train2017 and val2017",
    probe="annotations",
)
TOY_CAPTIONS = DatasetSpec(
    name="toy-captions",
    kind="captions",
    summary="generated scenes of the toy world, each with true sentences",
    open="clipzoo_train.toy_captions:open_toy",
    licence="Apache-2.0",
    generated=True,
)
CAPTIONS_PATH = DatasetSpec(
    name="captions-path",
    kind="captions",
    summary="your own: CSV, TSV, JSON, a folder, webdataset shards",
    open="clipzoo_train.caption_files:open_captions",
    paths=True,
)
