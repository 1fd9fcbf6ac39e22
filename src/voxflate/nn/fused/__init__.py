"""The stages of the networks as single sweeps over memory, by compiled kernels, on CPUs.

The plain modules in `nn` define the results. The stages here take the same modules with the same parameters
and give the same values, gradients and second derivatives up to rounding. Only `nn/run_stage.py` uses this
package; at every call it chooses between a plain module and its fused stage (decision 0024).

`build` compiles and loads `kernels.cpp` and `winograd.cpp`; `ops` calls them; `resampling`, `finish` and
`winograd` are autograd functions on top; `convs` splits the convolutions of `nn/conv_modules.py` into sweeps;
`stages` has the stages and tells why one cannot be used.
"""
