"""The terminal as commands write on it: what comes from outside is shown there, never obeyed."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from qdllm.visible import visible_lines


class Screen(Console):
    """A console of rich's on which labels, names and messages have no power.

    Nothing in them is an escape sequence, no bracket is markup, no word between colons an emoji.
    """

    def __init__(self, **options: object) -> None:
        """As rich's."""
        super().__init__(markup=False, emoji=False, highlight=False, **options)  # type: ignore[arg-type]

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """What is written of it. Styles and the moves of a live line are rich's own, and stay."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(visible_lines(segment.text), segment.style)


def say(*lines: object) -> None:
    """Print lines that may repeat what comes from outside."""
    print(*map(visible_lines, lines), sep="\n")
