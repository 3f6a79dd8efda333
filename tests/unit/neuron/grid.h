// What a C++ compiler for a CPU must know to build lif.cu: a grid, run thread after thread by the functions that
// grid.py writes behind the kernels, and what it does when the compiler's own checks find undefined behaviour.
struct Index {
    unsigned x;
};
static Index blockIdx, blockDim, gridDim, threadIdx;
#define __device__
#define __forceinline__ inline
#define __global__
#define __launch_bounds__(threads)

extern "C" {
int undefined_behaviour = 0;
void __ubsan_handle_type_mismatch_v1(void *, void *) { ++undefined_behaviour; }  // alignment, null
void __ubsan_handle_out_of_bounds(void *, void *) { ++undefined_behaviour; }
void __ubsan_handle_shift_out_of_bounds(void *, void *, void *) { ++undefined_behaviour; }
void __ubsan_handle_float_cast_overflow(void *, void *) { ++undefined_behaviour; }
}
