"""The teacher's folder: a secret, from which hidden inputs and pseudonyms follow, and what grading keeps.

The project is public, so hidden means fresh: hidden inputs are drawn from a seed that is an HMAC of the secret and the
exercise's id. The secret is made on the teacher's machine, in a folder that must not lie in the project.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from ra3_lab.resources import checkout_dir

DEFAULT_FOLDER = "ra3_course"
SECRET_FILE = "secret"
_README = """This folder is yours alone: whoever has the file `secret` can compute the hidden inputs of your course.
Keep it out of repositories and of what you hand out; back it up: without it no grade can be computed again.
"""


@dataclass(frozen=True)
class Secret:
    """What hidden inputs and pseudonyms are made from. Its text never shows in a representation."""

    key: bytes = field(repr=False)
    """32 random bytes."""

    def seed(self, about: str) -> int:
        """The seed of hidden inputs: for an exercise id, or anything else that has a name. Below 2**31.

        >>> Secret(b"k" * 32).seed("a1.regret") == Secret(b"k" * 32).seed("a1.regret")
        True
        """
        return int.from_bytes(self._digest(f"inputs {about}")[:4], "big") >> 1

    def pseudonym(self, student: str) -> str:
        """A short name that says nothing, the same every time."""
        return "s-" + self._digest(f"student {student}").hex()[:10]

    def fingerprint(self) -> str:
        """What tells two secrets apart without giving either away."""
        return self._digest("fingerprint").hex()[:12]

    def _digest(self, text: str) -> bytes:
        return hmac.new(self.key, text.encode(), hashlib.sha256).digest()


def make(folder: Path) -> Secret:
    """A new secret in `folder`, which only this user may enter.

    Raises ValueError inside the project, and FileExistsError where there is a secret: a new one would change grades.
    """
    root = checkout_dir()
    if root is not None and folder.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{folder} lies in the project: give --course FOLDER, somewhere nobody publishes it.")
    if (folder / SECRET_FILE).exists():
        raise FileExistsError(f"{folder / SECRET_FILE} is there already; with another one grades would change.")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / SECRET_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32) + "\n")
    (folder / "README.txt").write_text(_README, encoding="utf-8")
    return read(folder)


def read(folder: Path) -> Secret:
    """The secret of a teacher's folder. FileNotFoundError or ValueError, with what to do, where there is none."""
    path = folder / SECRET_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"no secret in {folder}: make one with `ra3-lab course init --course FOLDER`, or name its folder."
        )
    text = path.read_text(encoding="ascii", errors="replace").strip()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ValueError(f"{path} is not a secret of this course: 64 hexadecimal digits are expected. Restore it.")
    return Secret(key)
