"""How often what no teacher taught names the class that a teacher names, on the test split."""

from typing import Annotated

from pydantic import Field

from jobs.kinds.kind import Kind, Number
from qdllm.specs import AgreementSpec

METRIC = "test.agreement"
"""As the records of what a teacher taught have it too."""

AGREEMENTS = Kind(
    name="agreements",
    label="agreements",
    spec=AgreementSpec,
    maker="jobs.agree",
    phase=lambda spec: str(spec.family),
    content={"metrics": dict[str, Annotated[list[Number], Field(min_length=1)]]},
    told={"": "spec/family", "agreement": f"metrics/{METRIC}"},
    kept="source",
)
KINDS = (AGREEMENTS,)
