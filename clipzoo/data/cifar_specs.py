"""CIFAR-10 and CIFAR-100 by name."""

from clipzoo.data.downloads import Archive
from clipzoo.data.registry import DatasetSpec

_HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"

CIFAR10 = DatasetSpec(
    name="cifar10",
    kind="images",
    summary="60 000 photos of 32 x 32 px, 10 classes",
    open="clipzoo.data.labelled_images:open_cifar",
    licence="none stated",
    homepage=_HOME,
    archives=(
        Archive(
            "cifar-10-binary.tar.gz",
            ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
            sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            size_bytes=170_052_171,
        ),
    ),
    layout="cifar-10-batches-bin/{batches.meta.txt, data_batch_1.bin .. data_batch_5.bin, test_batch.bin}",
    probe="cifar-10-batches-bin",
)
CIFAR100 = DatasetSpec(
    name="cifar100",
    kind="images",
    summary="60 000 photos of 32 x 32 px, 100 classes",
    open="clipzoo.data.labelled_images:open_cifar",
    licence="none stated",
    homepage=_HOME,
    archives=(
        Archive(
            "cifar-100-binary.tar.gz",
            ("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",),
            sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            size_bytes=168_513_733,
        ),
    ),
    layout="cifar-100-binary/{fine_label_names.txt, train.bin, test.bin}",
    probe="cifar-100-binary",
)
