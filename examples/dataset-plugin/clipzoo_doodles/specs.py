"""What clipzoo knows of the datasets before they are opened. Nothing heavy is imported here."""

from clipzoo.data.registry import DatasetSpec

DOODLES = DatasetSpec(
    name="doodles",
    kind="images",
    summary="line drawings of 16 things, turned and scaled at random",
    open="clipzoo_doodles.doodles:open_doodles",
    licence="Apache-2.0",
    generated=True,
)

# To have the files fetched when absent, add the archive with its digest; clipzoo resumes, verifies and unpacks:
#     archives=(Archive("doodles.zip", ("https://...",), sha256="...", size_bytes=...),)
# with Archive from clipzoo.data.downloads. Without it, clipzoo tells the user what to put where.
DOODLE_FILES = DatasetSpec(
    name="doodle-files",
    kind="images",
    summary="line drawings of your own, with an index of what they show",
    open="clipzoo_doodles.doodles:open_doodle_files",
    licence="that of your drawings",
    homepage="https://example.org/doodles",
    layout="index.csv with the columns file, label and split, and the files it names",
    probe="index.csv",
)
