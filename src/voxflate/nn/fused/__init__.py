"""The stages of the networks as single sweeps over memory, by compiled kernels, on CPUs.

The plain modules in `nn` define the results. The stages here take the same modules, with the same parameters,
and give the same values, gradients and second derivatives to rounding. `nn/run_stage.py` alone uses this
package; it chooses, at every call, between a plain module and its fused stage (decision 0024).

`build` compiles and loads `kernels.cpp`; `ops` calls it; `resampling` and `finish` are autograd functions on
top; `convs` says what the convolutions of `nn/conv_modules.py` leave for a sweep to join; `stages` has the
stages themselves and says why one cannot be used.
"""
