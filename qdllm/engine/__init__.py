"""How `qdllm.statevector` computes: a compiler into fused steps, and two ways to run them.

`fusion` turns gates into steps. `cpu` runs them in kernels compiled by Numba: `kernels` walks the
circuit, `tables` prepares a student's numbers, `butterflies` and `simd` keep amplitudes in
registers. `tensors` runs the same steps in torch operations, on any device.
"""
