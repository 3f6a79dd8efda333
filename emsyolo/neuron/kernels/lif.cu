// The multi-step leaky integrate-and-fire neuron: forward and backward pass, and the bits that join them; the
// integrate-and-fire neuron of converted networks; and the integer-valued neuron.
//
// Compiled at run time for a GPU (kernels/cuda.py), and in the tests by a C++ compiler that is told what a grid is, from
// this one text: only what a GPU alone knows asks for __CUDA_ARCH__. The caller defines
//   REAL      float or double: potentials
//   HALF      0: memory holds REAL; 1: bfloat16; 2: float16 (as unsigned short)
// The memory of a map [T, N, *] is T rows of `neurons` elements, in whatever order its last axes lie; in x a `row` of 0
// repeats the first row. A byte of `bits` holds four steps of a neuron: bit t says that it fired, bit 4 + t that its
// potential lay in the surrogate's window.

#define INLINE __device__ __forceinline__

typedef REAL real;
#if HALF
typedef unsigned short stored;
#define VECTOR 8
#else
typedef REAL stored;
#define VECTOR (16 / sizeof(REAL))
#endif

#if HALF == 1
INLINE real load(stored x) {
    union { unsigned bits; float value; } as = {(unsigned)x << 16};
    return as.value;
}
INLINE stored store(real x) {  // to the nearest, ties to even
    union { float value; unsigned bits; } as = {x};
    return x != x ? 0x7FC0 : (as.bits + 0x7FFF + ((as.bits >> 16) & 1)) >> 16;
}
#define ONE 0x3F80
#elif HALF == 2
#ifdef __CUDA_ARCH__
INLINE real load(stored x) {
    real value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(x));
    return value;
}
INLINE stored store(real x) {
    stored bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}
#else
union half {
    stored bits;
    _Float16 value;
};
INLINE real load(stored x) { return half{x}.value; }
INLINE stored store(real x) {
    half as;
    as.value = (_Float16)x;
    return as.bits;
}
#endif
#define ONE 0x3C00
#else
INLINE real load(stored x) { return x; }
INLINE stored store(real x) { return x; }
#define ONE ((stored)1)
#endif

// Elements that lie side by side: read and written together, 16 bytes at a time.
template <typename T, int WIDTH>
struct alignas(sizeof(T) * WIDTH < 16 ? sizeof(T) * WIDTH : 16) Pack {
    T at[WIDTH];
};

template <int WIDTH, typename T>
INLINE Pack<T, WIDTH> get(const T *from) {
    return *(const Pack<T, WIDTH> *)from;
}

// Left to itself the compiler stores packs that it made in branches element by element. Nothing that a kernel writes is
// read in it again, so loads may pass these stores.
template <typename T, int WIDTH>
INLINE void put(T *to, const Pack<T, WIDTH> &value) {
#ifdef __CUDA_ARCH__
    if constexpr (sizeof(value) >= 4) {
        union { Pack<T, WIDTH> pack; unsigned words[sizeof(value) / 4]; } as = {value};
        unsigned long long at = (unsigned long long)to;
        asm("cvta.to.global.u64 %0, %0;" : "+l"(at));
        if constexpr (sizeof(value) == 4)
            asm volatile("st.global.b32 [%0], %1;" ::"l"(at), "r"(as.words[0]));
        else if constexpr (sizeof(value) == 8)
            asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(at), "r"(as.words[0]), "r"(as.words[1]));
        else
            for (int i = 0; i < sizeof(value) / 4; i += 4)
                asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(at + 4 * i), "r"(as.words[i]),
                             "r"(as.words[i + 1]), "r"(as.words[i + 2]), "r"(as.words[i + 3]));
        return;
    }
#endif
    *(Pack<T, WIDTH> *)to = value;
}

// One step of one neuron; its potential is moved on. Bit 0: fired; bit 4: inside the window.
INLINE unsigned integrate(real x, real &u, real decay, real v_threshold, real half_width, bool soft) {
    u = x + decay * u;
    real distance = u - v_threshold;
    bool fired = distance >= 0;
    bool inside = distance < half_width && distance > -half_width;
    if (fired) u = soft ? distance : 0;
    return (fired ? 1u : 0u) | (inside ? 16u : 0u);
}

// One step back: the gradient of the current, which is `later` for the step before.
INLINE real back(real grad, unsigned mark, real later, real decay, real slope, bool soft) {
    real own = mark & 16u ? grad * slope : 0;
    return (mark & 1u) && !soft ? own : own + decay * later;  // the reset itself is detached
}

// The potentials before the first step: 0 where there are none.
template <int WIDTH>
INLINE Pack<real, WIDTH> begin(const real *before, long long i) {
    Pack<real, WIDTH> u = {};
    return before ? get<WIDTH>(before + i) : u;
}

// Currents as they are, and those of a normalisation: x * scale + shift of the neuron's channel, rounded after each
// operation, and at last to what memory would hold.
struct Plain {
    INLINE real at(int k, stored x) const { return load(x); }
};

template <int WIDTH>
struct Normalised {
    real scale[WIDTH], shift[WIDTH];
    INLINE real at(int k, stored x) const { return load(store(load(x) * scale[k] + shift[k])); }
};

// Of WIDTH neurons from the i-th on, where `together` neurons of a channel lie side by side.
template <int WIDTH>
INLINE Normalised<WIDTH> normalised(const real *scale, const real *shift, long long i, int channels,
                                    long long together) {
    Normalised<WIDTH> found;
    long long run = (i | together) >> 32 ? i / together : (unsigned)i / (unsigned)together;  // in 32 bits it is fast
    long long place = i - run * together;
    int channel = run >> 32 ? run % channels : (unsigned)run % (unsigned)channels;
    for (int k = 0; k < WIDTH; ++k) {
        found.scale[k] = scale[channel];
        found.shift[k] = shift[channel];
        if (++place == together) {
            place = 0;
            channel = channel + 1 == channels ? 0 : channel + 1;
        }
    }
    return found;
}

// WIDTH neurons from the i-th on, all steps. `before` may be null, and so may `after` and `bits`, which are not written
// then.
template <int WIDTH, typename Currents>
INLINE void forward(const Currents &currents, const stored *x, long long row, const real *before, real *after, stored *spikes,
                    unsigned char *bits, long long neurons, long long i, int steps, real decay, real v_threshold,
                    real half_width, bool soft) {
    Pack<real, WIDTH> u = begin<WIDTH>(before, i);
    for (int group = 0; group < steps; group += 4) {
        Pack<unsigned char, WIDTH> marks = {};
        int stop = group + 4 < steps ? group + 4 : steps;
        for (int t = group; t < stop; ++t) {
            Pack<stored, WIDTH> in = get<WIDTH>(x + t * row + i), out;
            for (int k = 0; k < WIDTH; ++k) {
                unsigned mark = integrate(currents.at(k, in.at[k]), u.at[k], decay, v_threshold, half_width, soft);
                marks.at[k] |= mark << (t - group);
                out.at[k] = mark & 1u ? ONE : 0;
            }
            put(spikes + t * neurons + i, out);
        }
        if (bits) put(bits + group / 4 * neurons + i, marks);
    }
    if (after) put(after + i, u);
}

// The gradient of the currents from that of the spikes.
template <int WIDTH>
INLINE void backward(const stored *grad, const unsigned char *bits, stored *out, long long neurons, long long i,
                     int steps, real decay, real slope, bool soft) {
    real later[WIDTH] = {};
    for (int group = (steps - 1) / 4 * 4; group >= 0; group -= 4) {
        Pack<unsigned char, WIDTH> marks = get<WIDTH>(bits + group / 4 * neurons + i);
        for (int t = group + 4 < steps ? group + 3 : steps - 1; t >= group; --t) {
            Pack<stored, WIDTH> in = get<WIDTH>(grad + t * neurons + i), result;
            for (int k = 0; k < WIDTH; ++k) {
                later[k] = back(load(in.at[k]), marks.at[k] >> (t - group), later[k], decay, slope, soft);
                result.at[k] = store(later[k]);
            }
            put(out + t * neurons + i, result);
        }
    }
}

// The spikes again, from their bits.
template <int WIDTH>
INLINE void unpack(const unsigned char *bits, stored *spikes, long long neurons, long long i, int steps) {
    for (int group = 0; group < steps; group += 4) {
        Pack<unsigned char, WIDTH> marks = get<WIDTH>(bits + group / 4 * neurons + i);
        int stop = group + 4 < steps ? group + 4 : steps;
        for (int t = group; t < stop; ++t) {
            Pack<stored, WIDTH> out;
            for (int k = 0; k < WIDTH; ++k) out.at[k] = marks.at[k] >> (t - group) & 1 ? ONE : 0;
            put(spikes + t * neurons + i, out);
        }
    }
}

// A thread takes VECTOR neurons at once, 16 bytes of memory, where `wide` says that all rows are aligned.
#define KERNEL extern "C" __global__ void __launch_bounds__(256)
#define EACH(i) for (long long i = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * (wide ? VECTOR : 1); \
                     i < neurons; i += (long long)gridDim.x * blockDim.x * (wide ? VECTOR : 1))

KERNEL lif_forward(const stored *__restrict__ x, long long row, const real *__restrict__ before,
                   real *__restrict__ after, stored *__restrict__ spikes, unsigned char *__restrict__ bits,
                   long long neurons, int steps, real decay, real v_threshold, real half_width, int soft, int wide) {
    EACH(i) {
        if (wide)
            forward<VECTOR>(Plain(), x, row, before, after, spikes, bits, neurons, i, steps, decay, v_threshold,
                            half_width, soft);
        else
            forward<1>(Plain(), x, row, before, after, spikes, bits, neurons, i, steps, decay, v_threshold, half_width,
                       soft);
    }
}

KERNEL norm_lif_forward(const stored *__restrict__ x, const real *__restrict__ scale, const real *__restrict__ shift,
                        int channels, long long together, const real *__restrict__ before, real *__restrict__ after,
                        stored *__restrict__ spikes, unsigned char *__restrict__ bits, long long neurons, int steps,
                        real decay, real v_threshold, real half_width, int soft, int wide) {
    EACH(i) {
        if (wide)
            forward<VECTOR>(normalised<VECTOR>(scale, shift, i, channels, together), x, neurons, before, after, spikes,
                            bits, neurons, i, steps, decay, v_threshold, half_width, soft);
        else
            forward<1>(normalised<1>(scale, shift, i, channels, together), x, neurons, before, after, spikes, bits,
                       neurons, i, steps, decay, v_threshold, half_width, soft);
    }
}

#if !HALF
// Integrate and fire with soft reset, in units of the threshold; negative spikes as kernels/reference.py says.
template <int WIDTH>
INLINE void integrate_all(const stored *x, long long row, real *v, real *net, stored *spikes, long long neurons,
                          long long i, int steps, real negative, real repay, bool needs_spike) {
    Pack<real, WIDTH> u = get<WIDTH>(v + i), sent = get<WIDTH>(net + i);
    for (int t = 0; t < steps; ++t) {
        Pack<stored, WIDTH> in = get<WIDTH>(x + t * row + i), out;
        for (int k = 0; k < WIDTH; ++k) {
            u.at[k] += in.at[k];
            bool fired = u.at[k] >= 1;
            bool back = !fired && u.at[k] <= negative && (!needs_spike || sent.at[k] > 0);
            if (fired) u.at[k] -= 1;
            if (back) u.at[k] += repay;
            out.at[k] = fired ? 1 : back ? -1 : 0;
            sent.at[k] += out.at[k];
        }
        put(spikes + t * neurons + i, out);
    }
    put(v + i, u);
    put(net + i, sent);
}

KERNEL if_forward(const stored *__restrict__ x, long long row, real *__restrict__ v, real *__restrict__ net,
                  stored *__restrict__ spikes, long long neurons, int steps, real negative, real repay,
                  int needs_spike, int wide) {
    EACH(i) {
        if (wide)
            integrate_all<VECTOR>(x, row, v, net, spikes, neurons, i, steps, negative, repay, needs_spike);
        else
            integrate_all<1>(x, row, v, net, spikes, neurons, i, steps, negative, repay, needs_spike);
    }
}
#endif

KERNEL lif_backward(const stored *__restrict__ grad, const unsigned char *__restrict__ bits,
                    stored *__restrict__ out, long long neurons, int steps, real decay, real slope, int soft,
                    int wide) {
    EACH(i) {
        if (wide)
            backward<VECTOR>(grad, bits, out, neurons, i, steps, decay, slope, soft);
        else
            backward<1>(grad, bits, out, neurons, i, steps, decay, slope, soft);
    }
}

KERNEL lif_unpack(const unsigned char *__restrict__ bits, stored *__restrict__ spikes, long long neurons, int steps,
                  int wide) {
    EACH(i) {
        if (wide)
            unpack<VECTOR>(bits, spikes, neurons, i, steps);
        else
            unpack<1>(bits, spikes, neurons, i, steps);
    }
}

// The integer-valued neuron. A byte of its bits holds `per_byte` steps of `width` bits: the lowest says that the
// potential lay in [0, levels], the others are the spike.

// To the nearest whole number, ties to even, for 0 <= u < 2^21: what is added leaves no bits for a fraction.
INLINE real nearest(real u) {
    real shift = sizeof(real) == 8 ? (real)6755399441055744.0 : (real)12582912.0;
    return (u + shift) - shift;
}

template <int WIDTH, typename Currents>
INLINE void integer_forward(const Currents &currents, const stored *x, long long row, const real *before, real *after, stored *spikes,
                            unsigned char *bits, long long neurons, long long i, int steps, real decay, real scale,
                            real levels, int width, int per_byte) {
    Pack<real, WIDTH> r = begin<WIDTH>(before, i);
    for (int group = 0; group < steps; group += per_byte) {
        Pack<unsigned char, WIDTH> marks = {};
        int stop = group + per_byte < steps ? group + per_byte : steps;
        for (int t = group; t < stop; ++t) {
            Pack<stored, WIDTH> in = get<WIDTH>(x + t * row + i), out;
            for (int k = 0; k < WIDTH; ++k) {
                real u = currents.at(k, in.at[k]) * scale + decay * r.at[k];
                real clipped = u < 0 ? 0 : u > levels ? levels : u;
                real sent = nearest(clipped);
                marks.at[k] |= ((unsigned)sent << 1 | (clipped == u ? 1u : 0u)) << (t - group) * width;
                out.at[k] = store(sent);
                r.at[k] = u - sent;
            }
            put(spikes + t * neurons + i, out);
        }
        if (bits) put(bits + group / per_byte * neurons + i, marks);
    }
    if (after) put(after + i, r);
}

template <int WIDTH>
INLINE void integer_backward(const stored *grad, const unsigned char *bits, stored *out, long long neurons,
                             long long i, int steps, real decay, real scale, int width, int per_byte) {
    real later[WIDTH] = {};
    for (int group = (steps - 1) / per_byte * per_byte; group >= 0; group -= per_byte) {
        Pack<unsigned char, WIDTH> marks = get<WIDTH>(bits + group / per_byte * neurons + i);
        for (int t = group + per_byte < steps ? group + per_byte - 1 : steps - 1; t >= group; --t) {
            Pack<stored, WIDTH> in = get<WIDTH>(grad + t * neurons + i), result;
            for (int k = 0; k < WIDTH; ++k) {
                real own = marks.at[k] >> (t - group) * width & 1u ? load(in.at[k]) : 0;
                later[k] = own + decay * later[k];
                result.at[k] = store(scale * later[k]);
            }
            put(out + t * neurons + i, result);
        }
    }
}

template <int WIDTH>
INLINE void integer_unpack(const unsigned char *bits, stored *spikes, long long neurons, long long i, int steps,
                           int width, int per_byte) {
    unsigned largest = (1u << (width - 1)) - 1;
    for (int group = 0; group < steps; group += per_byte) {
        Pack<unsigned char, WIDTH> marks = get<WIDTH>(bits + group / per_byte * neurons + i);
        int stop = group + per_byte < steps ? group + per_byte : steps;
        for (int t = group; t < stop; ++t) {
            Pack<stored, WIDTH> out;
            for (int k = 0; k < WIDTH; ++k)
                out.at[k] = store((real)(marks.at[k] >> ((t - group) * width + 1) & largest));
            put(spikes + t * neurons + i, out);
        }
    }
}

KERNEL ilif_forward(const stored *__restrict__ x, long long row, const real *__restrict__ before,
                    real *__restrict__ after, stored *__restrict__ spikes, unsigned char *__restrict__ bits,
                    long long neurons, int steps, real decay, real scale, real levels, int width, int per_byte,
                    int wide) {
    EACH(i) {
        if (wide)
            integer_forward<VECTOR>(Plain(), x, row, before, after, spikes, bits, neurons, i, steps, decay, scale,
                                    levels, width, per_byte);
        else
            integer_forward<1>(Plain(), x, row, before, after, spikes, bits, neurons, i, steps, decay, scale, levels,
                               width, per_byte);
    }
}

KERNEL norm_ilif_forward(const stored *__restrict__ x, const real *__restrict__ norm_scale,
                         const real *__restrict__ shift, int channels, long long together,
                         const real *__restrict__ before, real *__restrict__ after, stored *__restrict__ spikes,
                         unsigned char *__restrict__ bits, long long neurons, int steps, real decay, real scale,
                         real levels, int width, int per_byte, int wide) {
    EACH(i) {
        if (wide)
            integer_forward<VECTOR>(normalised<VECTOR>(norm_scale, shift, i, channels, together), x, neurons, before,
                                    after, spikes, bits, neurons, i, steps, decay, scale, levels, width, per_byte);
        else
            integer_forward<1>(normalised<1>(norm_scale, shift, i, channels, together), x, neurons, before, after,
                               spikes, bits, neurons, i, steps, decay, scale, levels, width, per_byte);
    }
}

KERNEL ilif_backward(const stored *__restrict__ grad, const unsigned char *__restrict__ bits,
                     stored *__restrict__ out, long long neurons, int steps, real decay, real scale, int width,
                     int per_byte, int wide) {
    EACH(i) {
        if (wide)
            integer_backward<VECTOR>(grad, bits, out, neurons, i, steps, decay, scale, width, per_byte);
        else
            integer_backward<1>(grad, bits, out, neurons, i, steps, decay, scale, width, per_byte);
    }
}

KERNEL ilif_unpack(const unsigned char *__restrict__ bits, stored *__restrict__ spikes, long long neurons, int steps,
                   int width, int per_byte, int wide) {
    EACH(i) {
        if (wide)
            integer_unpack<VECTOR>(bits, spikes, neurons, i, steps, width, per_byte);
        else
            integer_unpack<1>(bits, spikes, neurons, i, steps, width, per_byte);
    }
}
