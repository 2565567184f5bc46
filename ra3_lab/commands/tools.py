"""`ra3-lab test`, `test-all` and `lab`: twins of the Makefile's targets."""

from ra3_lab.devtools import open_lab, run_tests


def test() -> int:
    """Run the project's fast tests (at most 15 minutes)."""
    return run_tests()


def test_all() -> int:
    """Run all tests, slow, browser and GPU ones too."""
    return run_tests(all=True)


def lab() -> int:
    """Open JupyterLab on the notebooks."""
    return open_lab()
