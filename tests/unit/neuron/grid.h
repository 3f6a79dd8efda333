// What a C++ compiler for a CPU must know to build lif.cu: a grid, run thread after thread by the functions that
// grid.py writes behind the kernels (where a block's threads wait for each other: in turns from one such place to the
// next), and what it does when the compiler's own checks find undefined behaviour.
#include <cmath>
#include <setjmp.h>
#include <ucontext.h>

struct Index {
    unsigned x;
};
static Index blockIdx, blockDim, gridDim, threadIdx;
#define __device__
#define __forceinline__ inline
#define __global__
#define __launch_bounds__(threads)
#define __shared__ static

extern "C" {
int undefined_behaviour = 0;
void __ubsan_handle_type_mismatch_v1(void *, void *) { ++undefined_behaviour; }  // alignment, null
void __ubsan_handle_out_of_bounds(void *, void *) { ++undefined_behaviour; }
void __ubsan_handle_shift_out_of_bounds(void *, void *, void *) { ++undefined_behaviour; }
void __ubsan_handle_float_cast_overflow(void *, void *) { ++undefined_behaviour; }
}

// Fibers are begun as contexts, and then jumped into and out of, which asks nothing of the system.
static jmp_buf scheduler, places[256];
static bool begun[256], done[256];
static void (*of_thread)();

static void __syncthreads() {
    if (!_setjmp(places[threadIdx.x])) _longjmp(scheduler, 1);
}

static void fiber() {
    of_thread();
    done[threadIdx.x] = true;
    _longjmp(scheduler, 1);
}

static void go_on(unsigned i) {
    static ucontext_t contexts[256];
    static char stacks[256][1 << 15];
    if (_setjmp(scheduler)) return;
    if (begun[i]) _longjmp(places[i], 1);
    begun[i] = true;
    if (contexts[i].uc_stack.ss_sp == nullptr) getcontext(&contexts[i]);
    contexts[i].uc_stack.ss_sp = stacks[i];
    contexts[i].uc_stack.ss_size = sizeof(stacks[i]);
    makecontext(&contexts[i], fiber, 0);
    setcontext(&contexts[i]);
}

// A block whose threads wait for each other; that some of them end where others wait counts as undefined behaviour.
static void run_in_turns(void (*thread)()) {
    of_thread = thread;
    for (unsigned i = 0; i < blockDim.x; ++i) begun[i] = done[i] = false;
    for (unsigned ended = 0; ended == 0;) {
        for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x) {
            go_on(threadIdx.x);
            ended += done[threadIdx.x];
        }
        if (ended != 0 && ended != blockDim.x) ++undefined_behaviour;
    }
}
