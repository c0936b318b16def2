"""Options that several verbs have, each said once."""

from __future__ import annotations

from jsonargparse import ArgumentParser


def add_threads(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads (default: physical cores, at most 8)"
    )


def add_runner(parser: ArgumentParser) -> None:
    """What runs a model, and where."""
    parser.add_argument(
        "--engine",
        choices=("onnx", "torch"),
        default="onnx",
        help="what runs the model; torch for models imported from a checkpoint",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where it runs")


def add_engine(parser: ArgumentParser) -> None:
    """What runs a model, where, and how its masks are made of its logits."""
    add_runner(parser)
    parser.add_argument(
        "--postprocess",
        choices=("logits", "original"),
        default="logits",
        help="original: sizes, coordinates and masks as in the original UltraSam, to reproduce its numbers",
    )


def add_keep_embeddings(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--keep-embeddings",
        action="store_true",
        help="keep on disk what was encoded, so that the next run on the same frames need not do it again",
    )


def add_images(parser: ArgumentParser) -> None:
    """Of a verb that takes a COCO file beside other inputs."""
    parser.add_argument(
        "--images",
        metavar="DIR",
        help="folder of a COCO file's images (default: `images` beside the file, or its folder)",
    )


def add_axis(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--axis",
        choices=("x", "y", "z"),
        default="z",
        help="the axis along which a volume (NIfTI, MHA, NRRD) is cut into frames",
    )


def add_built_sets(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        metavar="DIR",
        required=True,
        help="folder with the sets that `ultrasam data build` converted",
    )


def add_run(parser: ArgumentParser, verb: str) -> None:
    """The finished run of `ultrasam VERB train` that is asked, and where."""
    parser.add_argument("--run", required=True, metavar="DIR", help=f"the folder of a run of `{verb} train`")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="where it runs (default: cuda where there is one)"
    )
    add_threads(parser)
