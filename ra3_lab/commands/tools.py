"""`ra3-lab test`, `test-all` and `lab`: twins of the Makefile's targets."""

from ra3_lab.devtools import open_lab, run_tests


def test() -> int:
    """Run the project's fast tests (at most 15 minutes)."""
    return run_tests()


def test_all() -> int:
    """Run all tests, slow, browser and GPU ones too."""
    return run_tests(all=True)


def lab(port: int | None = None, browser: bool = True) -> int:
    """Open JupyterLab on the notebooks.

    Example: ra3-lab lab --port 8890 --no-browser

    Args:
        port: Port on this machine; default: 8888, or the next free one.
        browser: Open it in a browser; else the address is printed, to be opened by hand.
    """
    return open_lab(port, browser)
