"""How good predictions are, per student."""

from torch import Tensor
from torch.nn.functional import one_hot, softmax

BINS = 15
"""Equal-width confidence bins of the calibration error, the customary number."""


def classification(
    logits_SNC: Tensor, labels_N: Tensor, teacher_NC: Tensor | None = None
) -> dict[str, Tensor]:
    """Measures of each student's predictions, each of shape (S,).

    accuracy; precision, recall and f1 averaged over the classes (equations 15 to 18, one class
    against the rest, 0 where a class is never predicted); agreement, where there is a teacher: how
    often both name the same class; calibration_error: the expected gap between confidence and
    accuracy.
    """
    classes = logits_SNC.shape[-1]
    predicted_SN = logits_SNC.argmax(-1)
    correct_SN = predicted_SN == labels_N
    predicted_SNC = one_hot(predicted_SN, classes).double()
    actual_NC = one_hot(labels_N, classes).double()
    hits_SC = (predicted_SNC * actual_NC).sum(-2)
    precision_SC = hits_SC / predicted_SNC.sum(-2).clamp(min=1)
    recall_SC = hits_SC / actual_NC.sum(-2).clamp(min=1)
    f1_SC = 2 * hits_SC / (predicted_SNC.sum(-2) + actual_NC.sum(-2)).clamp(min=1)

    # A diverged student's confidence is not a number; it is as good as none.
    confidence_SN = softmax(logits_SNC.double(), -1).amax(-1).nan_to_num(0)
    bin_SNB = one_hot((confidence_SN * BINS).long().clamp(max=BINS - 1), BINS).double()
    gap_SB = (bin_SNB * (confidence_SN - correct_SN.double()).unsqueeze(-1)).mean(-2)

    agreement = {}
    if teacher_NC is not None:
        agreement["agreement"] = (predicted_SN == teacher_NC.argmax(-1)).double().mean(-1)
    return {
        "accuracy": correct_SN.double().mean(-1),
        "precision": precision_SC.mean(-1),
        "recall": recall_SC.mean(-1),
        "f1": f1_SC.mean(-1),
        **agreement,
        "calibration_error": gap_SB.abs().sum(-1),
    }
