"""The datasets of videos that have a name."""

from clipzoo.data.registry import DatasetSpec

_FRAMES = "videos as NAME.mp4, or folders NAME of frames, anywhere below"

MSRVTT = DatasetSpec(
    name="msrvtt",
    kind="videos",
    summary="10 000 web videos with 20 sentences each; test is 1k-A",
    open="clipzoo_video.datasets:open_msrvtt",
    licence="academic research; the videos belong to their makers",
    homepage="https://www.microsoft.com/en-us/research/publication/msr-vtt-a-large-video-description-dataset-for-bridging-video-and-language/",
    layout=f"MSRVTT_JSFUSION_test.csv; MSRVTT_train.9k.csv, MSRVTT_data.json to train; {_FRAMES}",
    probe="MSRVTT_JSFUSION_test.csv",
)
MSVD = DatasetSpec(
    name="msvd",
    kind="videos",
    summary="1 970 clips with about 40 sentences each",
    open="clipzoo_video.datasets:open_msvd",
    licence="academic research",
    homepage="https://www.cs.utexas.edu/~ml/clamp/videoDescription/",
    layout=f"train_list.txt, val_list.txt, test_list.txt, raw-captions.pkl; {_FRAMES}",
    probe="test_list.txt",
)
LSMDC = DatasetSpec(
    name="lsmdc",
    kind="videos",
    summary="118 081 clips of films, a sentence each",
    open="clipzoo_video.datasets:open_lsmdc",
    licence="on request from MPII",
    homepage="https://sites.google.com/site/describingmovies/",
    layout=f"LSMDC16_annos_training.csv, LSMDC16_annos_val.csv, LSMDC16_challenge_1000_publictect.csv; {_FRAMES}",
    probe="LSMDC16_challenge_1000_publictect.csv",
)
DIDEMO = DatasetSpec(
    name="didemo",
    kind="videos",
    summary="10 000 Flickr videos, described in paragraphs",
    open="clipzoo_video.datasets:open_didemo",
    licence="see its page",
    homepage="https://github.com/LisaAnne/LocalizingMoments",
    layout=f"train_list.txt, train_data.json, the same of val and test; {_FRAMES}",
    probe="test_data.json",
)
ACTIVITYNET = DatasetSpec(
    name="activitynet",
    kind="videos",
    summary="20 000 YouTube videos, described in paragraphs",
    open="clipzoo_video.datasets:open_activitynet",
    licence="see its page",
    homepage="https://cs.stanford.edu/people/ranjaykrishna/densevid/",
    layout=f"train_ids.json, val_ids.json, train.json, val_1.json; {_FRAMES}",
    probe="val_1.json",
)
CLIPS = DatasetSpec(
    name="clips",
    kind="videos",
    summary="the toy world: clips that only the order of their frames tells apart",
    open="clipzoo_video.datasets:open_clips",
    licence="Apache-2.0",
    generated=True,
)
VIDEOS_PATH = DatasetSpec(
    name="videos-path",
    kind="videos",
    summary="videos of your own with captions: a CSV, or a folder",
    open="clipzoo_video.datasets:open_path",
    paths=True,
)
