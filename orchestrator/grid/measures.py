"""The names of what a search may go by, as MLflow shows them on a trial."""

MEASURES = ("accuracy", "precision", "recall", "f1", "agreement", "calibration_error")
CURVES = ("train.loss", "val.loss", *(f"val.{measure}" for measure in MEASURES))
"""Known after every epoch, for every seed."""
COSTS = ("parameters", "seconds_per_epoch", "inference_us")
"""Known at a trial's end."""
OBJECTIVES = (*(f"{curve}.mean" for curve in CURVES), *COSTS)


def asks_a_teacher(name: str) -> bool:
    """Whether a metric is one of those that only what a teacher taught has."""
    return name.startswith("val.agreement")


def looks_at_test(name: str) -> bool:
    """Whether a metric is measured on the test split, which takes no part in choosing."""
    return name.startswith(("test.", "accuracy_per_"))
