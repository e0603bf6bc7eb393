"""The distillation loss and its gradient in one compiled loop, for batches on a CPU.

On a batch of eight, some forty torch operations take as long as the circuit does. The formulas
are those of `qdllm.loss`, example by example, in double precision inside.
"""

import numpy as np
from numba import njit

from qdllm.compiled import kernel

TINY = np.finfo(np.float32).tiny


@njit
def log_softmax(values_C: np.ndarray, scale: float, result_C: np.ndarray) -> None:
    """Log-probabilities of values_C · scale."""
    highest, total = values_C.max(), 0.0
    for c in range(len(values_C)):
        result_C[c] = (values_C[c] - highest) * scale
        total += np.exp(result_C[c])
    result_C -= np.log(total)


@kernel()
def value_and_gradient(
    student_SNC: np.ndarray,
    teacher_SNC: np.ndarray,
    labels_SN: np.ndarray,
    alpha_S: np.ndarray,
    temperature: float,
    kl: bool,
    js: bool,
    published: bool,
    loss_S: np.ndarray,
    gradient_SNC: np.ndarray,
) -> None:
    """Fill loss_S, and each student's gradient of its own loss by its logits.

    `slope` is the soft terms' derivative by the student's softened log-probabilities; the chain
    rule through the softmax, or through both of the published form, takes it to the logits.
    """
    students, examples, classes = student_SNC.shape
    log_p, log_s, log_t, log_q, slope, p = np.empty((6, classes))
    for s in range(students):
        alpha, loss = alpha_S[s], 0.0
        for n in range(examples):
            logits, label = student_SNC[s, n], labels_SN[s, n]
            log_softmax(logits.astype(np.float64), 1.0, log_p)
            p[:] = np.exp(log_p)
            log_softmax(p if published else logits.astype(np.float64), 1 / temperature, log_s)
            log_softmax(teacher_SNC[s, n].astype(np.float64), 1 / temperature, log_t)
            soft = 0.0
            slope[:] = 0
            if kl:
                for c in range(classes):
                    weight = temperature**2 * np.exp(log_t[c])
                    soft += weight * (log_t[c] - log_s[c])
                    slope[c] -= weight
            if js:
                if published:
                    log_softmax(np.exp(log_t), 1.0, log_q)
                else:
                    log_q[:] = log_t
                for c in range(classes):
                    ours, theirs = np.exp(log_s[c]), np.exp(log_q[c])
                    mean = max((ours + theirs) / 2, TINY)
                    log_mean = np.log(mean)
                    if published:
                        apart = 2 * log_mean - log_s[c] - log_q[c]
                        soft += mean * apart / (2 * classes)
                        slope[c] += (ours * (apart + 2) / 2 - mean) / (2 * classes)
                    else:
                        apart = log_s[c] - log_mean
                        soft += (ours * apart + theirs * (log_q[c] - log_mean)) / 2
                        slope[c] += ours * apart / 2
            slope[:] = (slope - np.exp(log_s) * slope.sum()) / temperature
            if published:
                slope[:] = p * (slope - (p * slope).sum())
            loss += (1 - alpha) * -log_p[label] + alpha * soft
            for c in range(classes):
                hard = p[c] - (c == label)
                gradient_SNC[s, n, c] = ((1 - alpha) * hard + alpha * slope[c]) / examples
        loss_S[s] = loss / examples
