"""The templates of the page and of the model card."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment() -> Environment:
    """Jinja's, over this package's templates.

    Values are escaped for HTML; what a template names and nobody gave is an error.
    """
    return Environment(
        loader=PackageLoader("orchestrator.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
