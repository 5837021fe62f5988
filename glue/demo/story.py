"""The whole story: every scene over real HTTP with signed webhooks. Every step says what it expects."""

from __future__ import annotations

from glue.demo.console import Console
from glue.demo.finale import Finale
from glue.demo.lessons import Lessons
from glue.demo.scene import Cast
from glue.demo.shop import Shop


def tell(cast: Cast, console: Console) -> None:
    """Raises StepFailed at the first step that does not hold."""
    for scene in (Lessons, Shop, Finale):
        scene(cast, console).tell()
