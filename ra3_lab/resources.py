"""Where the shipped files are: data/ of a checkout, or its copy inside an installed wheel."""

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
    root = checkout_dir()
    folder = _PACKAGE / "data_files" if root is None else root / "data"
    if folder.is_dir():
        return folder
    raise FileNotFoundError(
        f"ra3_lab's data folder is missing: looked for {folder}. "
        "Restore it (`git checkout -- data` in a checkout) or install the package again."
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
