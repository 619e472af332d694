"""``clipzoo run clip4clip --input FOLDER query="..."``: index what is new, answer with moments and their pictures."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from clipzoo import Context, Result
from clipzoo.data.video_reading import is_video, read_frames
from clipzoo.errors import ClipzooError, DataError
from clipzoo.images.sheets import captioned_sheet
from clipzoo.paths import cache_dir
from clipzoo.plugin import Table
from clipzoo_video.datasets import find_videos
from clipzoo_video.plugin import CLIP4ClipSettings
from clipzoo_video.search import IndexChange, Moment, VideoIndex


def search(settings: CLIP4ClipSettings, context: Context) -> Result:
    """Bring the index up to date, and answer the query if there is one."""
    videos, root = videos_of(Path(settings.input).expanduser())
    image = Path(settings.query_image).expanduser() if settings.query_image else None
    _check_query(settings, context, image)
    index = VideoIndex(settings.index or _own_folder(root), context.clip, per_second=settings.per_second)
    change = index.update(
        videos,
        failed=context.failed,
        progress=lambda keys: context.progress(keys, total=len(videos), label="index"),
    )
    _tell(change, videos, settings, context)
    metrics: dict[str, float] = {
        "videos": len(change.added) + len(change.kept),
        "indexed_now": len(change.added),
        "frames_encoded": change.frames,
        "failed": len(change.failed),
    }
    protocol = {
        "encoder": f"{context.clip.name} ({context.clip.fingerprint})",
        "pixels": context.clip.preprocess_id,
        "frames": f"{settings.per_second:g} a second",
        "relevance": "3 robust deviations above the library's scores for the query, and half of the best one's lead",
    }
    if not settings.query and image is None:
        context.note('The videos are indexed. Ask with query="a sentence", or query_image=FILE.')
        return Result(metrics, protocol=protocol)
    moments = index.query(index.query_row(settings.query, image), top=settings.top)
    trained = [head for head in settings.heads if head != "meanP"]
    if settings.weights and settings.query:
        from clipzoo_video.published import load_clip4clip

        model = load_clip4clip(settings.weights, clip=context.clip, device=context.device)
        moments = index.rerank(model, settings.query, moments)
        protocol["order"] = f"of {model.head_name}, from {Path(settings.weights).name}"
    elif trained:
        context.note(f"{', '.join(trained)} need training to rank: name a trained model with weights=FILE.")
    shown = [moment for moment in moments if moment.relevant]
    if not shown:
        context.note("Nothing in these videos stands out for this query; the nearest moments are shown.")
        shown = moments[:3]
    metrics = {"moments": len([moment for moment in shown if moment.relevant]), "best_score": shown[0].score, **metrics}
    _record(context, shown)
    _picture(context, shown, settings.query or Path(settings.query_image).name)
    return Result(metrics, [Table("moments", [_row(moment) for moment in shown], _caption(settings))], protocol)


def videos_of(path: Path) -> tuple[dict[str, Path], Path]:
    """Videos under a folder, or one video; and the folder that keys are relative to.

    Raises:
        DataError: if there is none.
    """
    if not path.exists():
        raise DataError(f"there is no {path}", expected="a folder of videos, or a video")
    if path.is_file():
        if not is_video(path):
            raise DataError(f"{path} does not look like a video", expected="mp4, webm, mkv, avi, mov, gif, ...")
        return {path.stem: path}, path
    videos = find_videos(path)
    if not videos and is_video(path):
        return {path.name: path}, path
    if not videos:
        raise DataError(f"there is no video in {path}", expected="mp4, webm, mkv, avi, mov, gif, or folders of frames")
    return videos, path


def _check_query(settings: CLIP4ClipSettings, context: Context, image: Path | None) -> None:
    """What is wrong with a query is told before an hour of indexing."""
    if image is not None:
        from clipzoo.images.reading import read_image

        read_image(image)
    if settings.query:
        context.clip.tokenise([settings.query])
        unknown = context.clip.unknown_words(settings.query)
        if unknown:
            context.note(
                f"{context.clip.name} has never met: {', '.join(unknown[:5])}. "
                "Name a real encoder, for example model=ViT-B-32/openai."
            )


def _own_folder(root: Path) -> Path:
    name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    return cache_dir() / "video-index" / f"{root.name}-{name}"


def _tell(change: IndexChange, videos: dict[str, Path], settings: CLIP4ClipSettings, context: Context) -> None:
    if change.removed:
        context.note(f"{len(change.removed)} videos are gone, and forgotten.")
    if not change.failed:
        return
    listed = [f"{key}: {reason}" for key, reason in list(change.failed.items())[:5]]
    share = len(change.failed) / len(videos)
    if len(change.failed) == len(videos):
        raise DataError("no video could be read", details=listed)
    context.note(f"{len(change.failed)} of {len(videos)} videos ({share:.0%}) could not be read: {'; '.join(listed)}")


def _record(context: Context, moments: Sequence[Moment]) -> None:
    for place, moment in enumerate(moments, start=1):
        context.record(f"{place:03d} {moment.video}", **_row(moment))


def _row(moment: Moment) -> dict[str, object]:
    return {
        "video": moment.video,
        "start_s": round(moment.start_s, 3),
        "end_s": round(moment.end_s, 3),
        "best_s": round(moment.best_s, 3),
        "score": round(moment.score, 4),
        "z": round(moment.z, 2),
        "relevant": moment.relevant,
    }


def _picture(context: Context, moments: Sequence[Moment], query: str) -> None:
    cells = []
    for moment in moments[:24]:
        try:
            frames, _ = read_frames(moment.path, [moment.best_s])
        except ClipzooError:  # a file may have gone since
            continue
        told = (
            f"{Path(moment.video).name[:28]} {clock(moment.start_s)}-{clock(moment.end_s)} best {clock(moment.best_s)}"
        )
        cells.append((Image.fromarray(frames[0].permute(1, 2, 0).numpy()), told))
    if cells:
        buffer = io.BytesIO()
        captioned_sheet(cells, columns=4, cell_px=220).save(buffer, format="PNG")
        context.save_bytes("moments.png", buffer.getvalue(), f'The best moments for "{query}"')


def _caption(settings: CLIP4ClipSettings) -> str:
    asked = " and ".join(part for part in (settings.query, Path(settings.query_image).name) if part)
    return f'Moments that fit "{asked}", best first; times in seconds'


def clock(seconds: float) -> str:
    """Minutes and seconds, with a tenth.

    >>> clock(75.25)
    '1:15.2'
    """
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes)}:{rest:04.1f}"
