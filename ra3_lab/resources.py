"""Where the shipped files are: data/ and the masters of a checkout, or their copies inside an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def checkout_dir() -> Path | None:
    """The root of the source tree this package runs from, or None in an installed wheel."""
    root = _PACKAGE.parent
    # In site-packages a neighbour called pyproject.toml would be odd, a neighbour called data/ would not.
    return root if (root / "pyproject.toml").is_file() else None


def data_dir() -> Path:
    """The folder of shipped data: task splits in `pipelines/`, the embedded model in `models/`.

    Raises:
        FileNotFoundError: neither a checkout's data/ nor the wheel's copy of it is there.
    """
    return _shipped("data", "data_files")


def masters_dir() -> Path:
    """The folder of the assignments' master notebooks.

    Raises:
        FileNotFoundError: neither a checkout's notebooks/assignments/src nor the wheel's copy of it is there.
    """
    return _shipped("notebooks/assignments/src", "assignment_files")


def _shipped(in_checkout: str, in_wheel: str) -> Path:
    root = checkout_dir()
    folder = _PACKAGE / in_wheel if root is None else root / in_checkout
    if folder.is_dir():
        return folder
    raise FileNotFoundError(
        f"ra3_lab's {in_checkout} folder is missing: looked for {folder}. "
        f"Restore it (`git checkout -- {in_checkout}` in a checkout) or install the package again."
    )


def embedded_model_dir() -> Path:
    """The folder of the embedded base model, a plain `transformers` model directory.

    Raises:
        FileNotFoundError: the data folder, or the model's config in it, is missing.
    """
    folder = data_dir() / "models" / "pipelines-base"
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"the embedded model is missing: no config.json in {folder}. "
            "Restore it from the repository, or name another model directory."
        )
    return folder
