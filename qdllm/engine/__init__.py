"""How `qdllm.engine.statevector` computes: a compiler into fused steps, and two ways to run them.

`fusion` turns gates into steps. `cpu` runs them in kernels compiled by Numba: `walk` takes a batch
through all of them and back, `steps` and `boundary` through one, `tables` prepares a student's
numbers, `butterflies` and `simd` keep amplitudes in registers. `tensors` runs the same steps in
torch operations, on any device.
"""
