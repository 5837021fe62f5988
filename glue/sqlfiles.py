"""Where the SQL files are, and what the function files say."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class FunctionFile:
    """One file below db/functions; it defines the function (or trigger and function) of its own name."""

    name: str
    """Path relative to db/functions, with slashes."""
    text: str

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def function(self) -> str:
        return Path(self.name).stem

    @property
    def has_trigger(self) -> bool:
        pattern = r"^\s*create\s+(or\s+replace\s+)?(constraint\s+)?trigger\b"
        return re.search(pattern, self.text, re.M | re.I) is not None


def find_sql_root() -> Path:
    """The folder with migrations/ and functions/: `db` in a checkout, `glue/_db` where the wheel is
    installed.

    Raises FileNotFoundError.
    """
    package = Path(__file__).resolve().parent
    for root in (package.parent / "db", package / "_db"):
        if (root / "migrations").is_dir():
            return root
    raise FileNotFoundError("the SQL files are not installed beside the package glue")


def function_files(root: Path) -> list[FunctionFile]:
    """Every function file, in the order in which they are loaded."""
    folder = root / "functions"
    paths = sorted(folder.rglob("*.sql"), key=lambda path: path.relative_to(folder).parts)
    return [FunctionFile(path.relative_to(folder).as_posix(), path.read_text("utf-8")) for path in paths]


def made_by_migrations(root: Path) -> set[str]:
    """Names of the functions and triggers that migrations create, which therefore need no function file."""
    pattern = re.compile(
        r"^\s*create\s+(?:or\s+replace\s+)?(?:function|procedure|(?:constraint\s+)?trigger)\s+(?:booking\.)?(\w+)",
        re.M | re.I,
    )
    texts = (path.read_text("utf-8") for path in (root / "migrations").glob("*.sql"))
    return {name for text in texts for name in pattern.findall(text)}
