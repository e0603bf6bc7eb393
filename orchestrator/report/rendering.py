"""The templates of the page and of the model card."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from qdllm.visible import visible_lines


def environment() -> Environment:
    """Jinja's, over this package's templates.

    Values are made visible and escaped for HTML; what a template names and nobody gave is an error.
    """
    return Environment(
        loader=PackageLoader("orchestrator.report"),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _visible(value: Any) -> Any:
    """A text as it may be shown; what a template is sure of stays as it is."""
    plain = isinstance(value, str) and not isinstance(value, Markup)
    return visible_lines(value) if plain else value
