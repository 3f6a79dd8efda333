// The multi-step leaky integrate-and-fire neuron: forward and backward pass, and the bits that join them; the
// integrate-and-fire neuron of converted networks; and the integer-valued neuron.
//
// Compiled at run time for a GPU (kernels/launch.py), and in the tests by a C++ compiler that is told what a grid is,
// from this one text: only what a GPU alone knows asks for __CUDA_ARCH__. The caller defines
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
#if __CUDA_ARCH__ >= 800
#define PAIR "cvt.rn.bf16x2.f32"
INLINE stored store(real x) {
    stored bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}
#else
INLINE stored store(real x) {  // to the nearest, ties to even
    union { float value; unsigned bits; } as = {x};
    return x != x ? 0x7FC0 : (as.bits + 0x7FFF + ((as.bits >> 16) & 1)) >> 16;
}
#endif
#define ONE 0x3F80
#elif HALF == 2
#if __CUDA_ARCH__ >= 800
#define PAIR "cvt.rn.f16x2.f32"
#endif
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

// What is stored, as numbers; two of bfloat16 from a word.
template <int WIDTH>
struct Numbers {
    real at[WIDTH];
};

template <int WIDTH>
INLINE Numbers<WIDTH> load_all(const Pack<stored, WIDTH> &pack) {
    if constexpr (HALF == 1 && WIDTH % 2 == 0) {
        union { Pack<stored, WIDTH> pack; unsigned words[WIDTH / 2]; } from = {pack};
        union { unsigned bits[WIDTH]; Numbers<WIDTH> numbers; } as;
        for (int k = 0; k < WIDTH; k += 2) {
            as.bits[k] = from.words[k / 2] << 16;
            as.bits[k + 1] = from.words[k / 2] & 0xFFFF0000;
        }
        return as.numbers;
    } else {
        Numbers<WIDTH> found;
        for (int k = 0; k < WIDTH; ++k) found.at[k] = load(pack.at[k]);
        return found;
    }
}

template <int WIDTH>
INLINE Numbers<WIDTH> loaded(const stored *from) {
    return load_all(get<WIDTH>(from));
}

// Numbers as they are stored; two of half precision in one instruction, where there is one.
template <int WIDTH>
INLINE Pack<stored, WIDTH> store_all(const Numbers<WIDTH> &values) {
    union { unsigned words[(WIDTH + 1) / 2]; Pack<stored, WIDTH> pack; } as;
#ifdef PAIR
    if constexpr (WIDTH % 2 == 0) {
        for (int k = 0; k < WIDTH; k += 2)
            asm(PAIR " %0, %1, %2;" : "=r"(as.words[k / 2]) : "f"(values.at[k + 1]), "f"(values.at[k]));
    } else
#endif
        for (int k = 0; k < WIDTH; ++k) as.pack.at[k] = store(values.at[k]);
    return as.pack;
}

// The bits of WIDTH neurons side by side, a byte of each. In words, because single bytes cost a GPU more instructions.
template <int WIDTH>
struct Marks {
    unsigned words[(WIDTH + 3) / 4];
    INLINE void add(int k, unsigned bits) { words[k / 4] |= bits << 8 * (k % 4); }
    INLINE bool has(int k, unsigned bits) const { return words[k / 4] & bits << 8 * (k % 4); }
    INLINE unsigned field(int k, int from, unsigned largest) const {
        return words[k / 4] >> (8 * (k % 4) + from) & largest;
    }
};

template <int WIDTH>
INLINE Marks<WIDTH> marks_of(const unsigned char *from) {
    Marks<WIDTH> marks = {};
    if constexpr (WIDTH % 4 == 0) {
        Pack<unsigned, WIDTH / 4> words = get<WIDTH / 4>((const unsigned *)from);
        for (int k = 0; k < WIDTH / 4; ++k) marks.words[k] = words.at[k];
    } else {
        Pack<unsigned char, WIDTH> bytes = get<WIDTH>(from);
        for (int k = 0; k < WIDTH; ++k) marks.add(k, bytes.at[k]);
    }
    return marks;
}

template <int WIDTH>
INLINE void keep(unsigned char *to, const Marks<WIDTH> &marks) {
    if constexpr (WIDTH % 4 == 0) {
        Pack<unsigned, WIDTH / 4> words;
        for (int k = 0; k < WIDTH / 4; ++k) words.at[k] = marks.words[k];
        put((unsigned *)to, words);
    } else {
        Pack<unsigned char, WIDTH> bytes;
        for (int k = 0; k < WIDTH; ++k) bytes.at[k] = marks.field(k, 0, 255);
        put(to, bytes);
    }
}

// `step` for each of a few places from 0 on, or back from the last one. Where it is known how many they are, loads of all
// of them can be on their way at once.
template <int COUNT, typename Step>
INLINE void each_of(bool back, Step step) {
#pragma unroll
    for (int place = 0; place < COUNT; ++place) step(back ? COUNT - 1 - place : place);
}

template <typename Step>
INLINE void each_of(int count, bool back, Step step) {
    if (count == 4)
        each_of<4>(back, step);
    else if (count == 2)
        each_of<2>(back, step);
    else
#pragma unroll 1
        for (int place = 0; place < count; ++place) step(back ? count - 1 - place : place);
}

INLINE int smaller(int a, int b) { return a < b ? a : b; }

// The potentials before the first step: 0 where there are none.
template <int WIDTH>
INLINE Pack<real, WIDTH> begin(const real *before, long long i) {
    Pack<real, WIDTH> u = {};
    return before ? get<WIDTH>(before + i) : u;
}

// Currents of a step: as they are,
template <int WIDTH>
struct Plain {
    INLINE Numbers<WIDTH> of(const Pack<stored, WIDTH> &x, int t, long long i) const { return load_all(x); }
};

// or those of a normalisation: x * scale + shift of the neuron's channel, and, unless `add` is null, what a shortcut
// adds to it; rounded after each operation, and then to what memory would hold, which is `total` unless that is null.
template <int WIDTH>
struct Normalised {
    const stored *add;
    stored *total;
    long long neurons;
    real scale[WIDTH], shift[WIDTH];
    INLINE Numbers<WIDTH> of(const Pack<stored, WIDTH> &x, int t, long long i) const {
        Numbers<WIDTH> current = load_all(x);
        for (int k = 0; k < WIDTH; ++k) current.at[k] = current.at[k] * scale[k] + shift[k];
        Pack<stored, WIDTH> kept = store_all(current);
        if (add) {
            Numbers<WIDTH> added = loaded<WIDTH>(add + t * neurons + i);
            current = load_all(kept);
            for (int k = 0; k < WIDTH; ++k) current.at[k] += added.at[k];
            kept = store_all(current);
        }
        if (total) put(total + t * neurons + i, kept);
        return load_all(kept);
    }
};

// Tells `use` the channel of each of WIDTH neurons from the i-th on, where `together` neurons of a channel lie side by
// side.
template <int WIDTH, typename Use>
INLINE void each_channel(long long i, int channels, long long together, Use use) {
    long long run = (i | together) >> 32 ? i / together : (unsigned)i / (unsigned)together;  // in 32 bits it is fast
    long long place = i - run * together;
    int channel = run >> 32 ? run % channels : (unsigned)run % (unsigned)channels;
    if (place + WIDTH <= together) {  // one channel
        for (int k = 0; k < WIDTH; ++k) use(k, channel);
    } else if (together == 1 && channel + WIDTH <= channels) {  // one channel after the other
        for (int k = 0; k < WIDTH; ++k) use(k, channel + k);
    } else {
        for (int k = 0; k < WIDTH; ++k) {
            use(k, channel);
            if (++place == together) {
                place = 0;
                channel = channel + 1 == channels ? 0 : channel + 1;
            }
        }
    }
}

template <int WIDTH>
INLINE Normalised<WIDTH> normalised(const real *scale, const real *shift, int channels, long long together,
                                    const stored *add, stored *total, long long neurons, long long i) {
    Normalised<WIDTH> found;
    found.add = add;
    found.total = total;
    found.neurons = neurons;
    each_channel<WIDTH>(i, channels, together, [&](int k, int channel) {
        found.scale[k] = scale[channel];
        found.shift[k] = shift[channel];
    });
    return found;
}

// WIDTH neurons from the i-th on, all steps. `before` may be null, and so may `after` and `bits`, which are not written
// then.
template <int WIDTH, typename Currents>
INLINE void forward(const Currents &currents, const stored *x, long long row, const real *before, real *after,
                    stored *spikes, unsigned char *bits, long long neurons, long long i, int steps, real decay,
                    real v_threshold, real half_width, bool soft) {
    Pack<real, WIDTH> u = begin<WIDTH>(before, i);
    for (int group = 0; group < steps; group += 4) {
        Marks<WIDTH> marks = {};
        each_of(smaller(4, steps - group), false, [&](int place) {
            int t = group + place;
            Pack<stored, WIDTH> out;
            Numbers<WIDTH> current = currents.of(get<WIDTH>(x + t * row + i), t, i);
            for (int k = 0; k < WIDTH; ++k) {
                u.at[k] = current.at[k] + decay * u.at[k];
                real distance = u.at[k] - v_threshold;
                bool fired = distance >= 0;
                if (fired) marks.add(k, 1u << place);
                if (fabs(distance) < half_width) marks.add(k, 16u << place);
                if (fired) u.at[k] = soft ? distance : 0;
                out.at[k] = fired ? ONE : 0;
            }
            put(spikes + t * neurons + i, out);
        });
        if (bits) keep(bits + group / 4 * neurons + i, marks);
    }
    if (after) put(after + i, u);
}

// The gradient of the currents from that of the spikes; the reset itself is detached.
template <int WIDTH>
INLINE void backward(const stored *grad, const unsigned char *bits, stored *out, long long neurons, long long i,
                     int steps, real decay, real slope, bool soft) {
    Numbers<WIDTH> later = {};
    unsigned stops = soft ? 0 : 1;
    for (int group = (steps - 1) / 4 * 4; group >= 0; group -= 4) {
        Marks<WIDTH> marks = marks_of<WIDTH>(bits + group / 4 * neurons + i);
        each_of(smaller(4, steps - group), true, [&](int place) {
            int t = group + place;
            Numbers<WIDTH> in = loaded<WIDTH>(grad + t * neurons + i);
            for (int k = 0; k < WIDTH; ++k) {
                real own = marks.has(k, 16u << place) ? in.at[k] * slope : 0;
                later.at[k] = marks.has(k, stops << place) ? own : own + decay * later.at[k];
            }
            put(out + t * neurons + i, store_all(later));
        });
    }
}

// The spikes again, from their bits.
template <int WIDTH>
INLINE void unpack(const unsigned char *bits, stored *spikes, long long neurons, long long i, int steps) {
    for (int group = 0; group < steps; group += 4) {
        Marks<WIDTH> marks = marks_of<WIDTH>(bits + group / 4 * neurons + i);
        each_of(smaller(4, steps - group), false, [&](int place) {
            Pack<stored, WIDTH> out;
            for (int k = 0; k < WIDTH; ++k) out.at[k] = marks.has(k, 1u << place) ? ONE : 0;
            put(spikes + (group + place) * neurons + i, out);
        });
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
            forward<VECTOR>(Plain<VECTOR>(), x, row, before, after, spikes, bits, neurons, i, steps, decay, v_threshold,
                            half_width, soft);
        else
            forward<1>(Plain<1>(), x, row, before, after, spikes, bits, neurons, i, steps, decay, v_threshold,
                       half_width, soft);
    }
}

KERNEL norm_lif_forward(const stored *__restrict__ x, const real *__restrict__ scale, const real *__restrict__ shift,
                        int channels, long long together, const stored *__restrict__ add, stored *__restrict__ total,
                        const real *__restrict__ before, real *__restrict__ after, stored *__restrict__ spikes,
                        unsigned char *__restrict__ bits, long long neurons, int steps, real decay, real v_threshold,
                        real half_width, int soft, int wide) {
    EACH(i) {
        if (wide)
            forward<VECTOR>(normalised<VECTOR>(scale, shift, channels, together, add, total, neurons, i), x, neurons,
                            before, after, spikes, bits, neurons, i, steps, decay, v_threshold, half_width, soft);
        else
            forward<1>(normalised<1>(scale, shift, channels, together, add, total, neurons, i), x, neurons, before,
                       after, spikes, bits, neurons, i, steps, decay, v_threshold, half_width, soft);
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

// To the nearest whole number, ties to even, for 0 <= u < 2^21: what is added leaves no bits for a fraction, so that the
// lowest are the number's own. A GPU converts between numbers of both kinds at a fraction of the speed of additions.
#define SHIFT ((real)(sizeof(real) == 8 ? 6755399441055744.0 : 12582912.0))
INLINE real nearest(real u, unsigned &whole) {
    union { real value; unsigned words[sizeof(real) / 4]; } as = {u + SHIFT};
    whole = as.words[0];
    return as.value - SHIFT;
}

// The number of those bits.
INLINE real number(unsigned whole) {
    union { real value; unsigned words[sizeof(real) / 4]; } as = {SHIFT};
    as.words[0] |= whole;
    return as.value - SHIFT;
}

template <int WIDTH, typename Currents>
INLINE void integer_forward(const Currents &currents, const stored *x, long long row, const real *before, real *after,
                            stored *spikes, unsigned char *bits, long long neurons, long long i, int steps, real decay,
                            real scale, real levels, int width, int per_byte) {
    Pack<real, WIDTH> r = begin<WIDTH>(before, i);
    unsigned largest = (1u << (width - 1)) - 1;
    for (int group = 0; group < steps; group += per_byte) {
        Marks<WIDTH> marks = {};
        each_of(smaller(per_byte, steps - group), false, [&](int place) {
            int t = group + place;
            Numbers<WIDTH> current = currents.of(get<WIDTH>(x + t * row + i), t, i), sent;
            for (int k = 0; k < WIDTH; ++k) {
                real u = current.at[k] * scale + decay * r.at[k];
                real clipped = u < 0 ? 0 : u > levels ? levels : u;
                unsigned whole;
                sent.at[k] = nearest(clipped, whole);
                marks.add(k, ((whole & largest) << 1 | (clipped == u ? 1u : 0u)) << place * width);
                r.at[k] = u - sent.at[k];
            }
            put(spikes + t * neurons + i, store_all(sent));
        });
        if (bits) keep(bits + group / per_byte * neurons + i, marks);
    }
    if (after) put(after + i, r);
}

template <int WIDTH>
INLINE void integer_backward(const stored *grad, const unsigned char *bits, stored *out, long long neurons,
                             long long i, int steps, real decay, real scale, int width, int per_byte) {
    Numbers<WIDTH> later = {}, result;
    for (int group = (steps - 1) / per_byte * per_byte; group >= 0; group -= per_byte) {
        Marks<WIDTH> marks = marks_of<WIDTH>(bits + group / per_byte * neurons + i);
        each_of(smaller(per_byte, steps - group), true, [&](int place) {
            int t = group + place;
            Numbers<WIDTH> in = loaded<WIDTH>(grad + t * neurons + i);
            for (int k = 0; k < WIDTH; ++k) {
                real own = marks.has(k, 1u << place * width) ? in.at[k] : 0;
                later.at[k] = own + decay * later.at[k];
                result.at[k] = scale * later.at[k];
            }
            put(out + t * neurons + i, store_all(result));
        });
    }
}

template <int WIDTH>
INLINE void integer_unpack(const unsigned char *bits, stored *spikes, long long neurons, long long i, int steps,
                           int width, int per_byte) {
    unsigned largest = (1u << (width - 1)) - 1;
    for (int group = 0; group < steps; group += per_byte) {
        Marks<WIDTH> marks = marks_of<WIDTH>(bits + group / per_byte * neurons + i);
        each_of(smaller(per_byte, steps - group), false, [&](int place) {
            Numbers<WIDTH> sent;
            for (int k = 0; k < WIDTH; ++k) sent.at[k] = number(marks.field(k, place * width + 1, largest));
            put(spikes + (group + place) * neurons + i, store_all(sent));
        });
    }
}

KERNEL ilif_forward(const stored *__restrict__ x, long long row, const real *__restrict__ before,
                    real *__restrict__ after, stored *__restrict__ spikes, unsigned char *__restrict__ bits,
                    long long neurons, int steps, real decay, real scale, real levels, int width, int per_byte,
                    int wide) {
    EACH(i) {
        if (wide)
            integer_forward<VECTOR>(Plain<VECTOR>(), x, row, before, after, spikes, bits, neurons, i, steps, decay,
                                    scale, levels, width, per_byte);
        else
            integer_forward<1>(Plain<1>(), x, row, before, after, spikes, bits, neurons, i, steps, decay, scale, levels,
                               width, per_byte);
    }
}

KERNEL norm_ilif_forward(const stored *__restrict__ x, const real *__restrict__ norm_scale,
                         const real *__restrict__ shift, int channels, long long together,
                         const stored *__restrict__ add, stored *__restrict__ total, const real *__restrict__ before,
                         real *__restrict__ after, stored *__restrict__ spikes, unsigned char *__restrict__ bits,
                         long long neurons, int steps, real decay, real scale, real levels, int width, int per_byte,
                         int wide) {
    EACH(i) {
        if (wide)
            integer_forward<VECTOR>(normalised<VECTOR>(norm_scale, shift, channels, together, add, total, neurons, i),
                                    x, neurons, before, after, spikes, bits, neurons, i, steps, decay, scale, levels,
                                    width, per_byte);
        else
            integer_forward<1>(normalised<1>(norm_scale, shift, channels, together, add, total, neurons, i), x,
                               neurons, before, after, spikes, bits, neurons, i, steps, decay, scale, levels, width,
                               per_byte);
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

// The way back through a neuron and the normalisation before it, x * scale + shift with statistics that may be those of
// x. The gradient of the currents, which is never written, follows from that of the spikes and their bits by
//   g[t] = (slope * grad[t] if inside) + (0 if it stops here, else decay * g[t + 1])
// where a step's bits lie `width` apart, `per_byte` of them in a byte. It is found twice: for the sums per channel
// (norm_sum, norm_finish), and for the gradient of x (norm_through). Where currents are the sum with a shortcut, or
// somebody else reads them, whose gradient of them is `more`, norm_sum writes what all that gives, `joined`, and
// norm_through gets it in place of the gradient of the spikes, without bits.
struct Chain {
    real decay, slope;
    int inside, stops, width, per_byte;
};

// Gives `use` the steps from the last to the first, with the gradients of the currents of WIDTH neurons from the i-th
// on. Where `bits` is null they are all ones.
template <int WIDTH, typename Use>
INLINE void steps_back(const stored *grad, const unsigned char *bits, long long neurons, long long i, int steps,
                       const Chain &chain, Use use) {
    Numbers<WIDTH> later = {};
    int per_byte = chain.per_byte;
    for (int group = (steps - 1) / per_byte * per_byte; group >= 0; group -= per_byte) {
        Marks<WIDTH> marks;
        for (unsigned &word : marks.words) word = ~0u;
        if (bits) marks = marks_of<WIDTH>(bits + group / per_byte * neurons + i);
        each_of(smaller(per_byte, steps - group), true, [&](int place) {
            int t = group + place, from = place * chain.width;
            Numbers<WIDTH> in = loaded<WIDTH>(grad + t * neurons + i);
            for (int k = 0; k < WIDTH; ++k) {
                real own = marks.has(k, chain.inside << from) ? in.at[k] * chain.slope : 0;
                later.at[k] = marks.has(k, chain.stops << from) ? own : own + chain.decay * later.at[k];
            }
            use(t, later);
        });
    }
}

// The sums over a part of all neurons, per channel: of the gradients, and of them times x's distance from the mean.
// A column is WIDTH channels side by side, or, where WIDTH neurons of a channel lie side by side, one channel. A block
// takes `columns` columns and a share of their items, which are WIDTH neurons each; its other threads take other items
// of the same columns. All is added in an order that depends on the sizes only.
template <int WIDTH>
INLINE void sum_columns(real *shared, const stored *grad, const unsigned char *bits, const stored *x,
                        const stored *more, stored *joined, const real *mean, int channels, long long together,
                        real *sums, long long neurons, int steps, const Chain &chain, int columns) {
    bool side = together == 1;  // channels lie side by side
    int all = side ? channels / WIDTH : channels, across = (all + columns - 1) / columns;
    int rows = blockDim.x / columns, row = threadIdx.x / columns, place = threadIdx.x;
    int column = blockIdx.x % across * columns + threadIdx.x % columns, part = blockIdx.x / across;
    int first = side ? column * WIDTH : column;  // channel
    bool works = row < rows && column < all;
    long long per = side ? 1 : together / WIDTH, items = neurons / channels / (side ? 1 : WIDTH);
    real means[WIDTH], total[WIDTH] = {}, product[WIDTH] = {};
    for (int k = 0; k < WIDTH; ++k) means[k] = works ? mean[side ? first + k : first] : 0;
    long long step = (long long)(gridDim.x / across) * rows;
    for (long long item = works ? (long long)part * rows + row : items; item < items; item += step) {
        long long plane = (item | per) >> 32 ? item / per : (unsigned)item / (unsigned)per;
        long long i = (plane * channels + first) * together + (item - plane * per) * WIDTH;
        steps_back<WIDTH>(grad, bits, neurons, i, steps, chain, [&](int t, const Numbers<WIDTH> &later) {
            Numbers<WIDTH> of = loaded<WIDTH>(x + t * neurons + i), found = later;
            if (joined) {
                if (more) {
                    Numbers<WIDTH> other = loaded<WIDTH>(more + t * neurons + i);
                    for (int k = 0; k < WIDTH; ++k) found.at[k] += other.at[k];
                }
                Pack<stored, WIDTH> both = store_all(found);
                put(joined + t * neurons + i, both);
                found = load_all(both);
            }
            for (int k = 0; k < WIDTH; ++k) {
                total[k] += found.at[k];
                product[k] += found.at[k] * (of.at[k] - means[k]);
            }
        });
    }
    if (!side)
        for (int k = 1; k < WIDTH; ++k) {
            total[0] += total[k];
            product[0] += product[k];
        }
    int own = side ? WIDTH : 1;
    for (int k = 0; k < WIDTH; ++k)  // a constant bound keeps the arrays in registers
        if (k < own) {
            shared[2 * k * blockDim.x + place] = total[k];
            shared[(2 * k + 1) * blockDim.x + place] = product[k];
        }
    __syncthreads();
    for (int left = rows; left > 1;) {
        int half = (left + 1) / 2;
        if (row + half < left)
            for (int k = 0; k < 2 * own; ++k)
                shared[k * blockDim.x + place] += shared[k * blockDim.x + place + half * columns];
        __syncthreads();
        left = half;
    }
    if (row > 0 || !works) return;
    for (int k = 0; k < own; ++k) {
        sums[(2LL * part) * channels + first + k] = shared[2 * k * blockDim.x + place];
        sums[(2LL * part + 1) * channels + first + k] = shared[(2 * k + 1) * blockDim.x + place];
    }
}

KERNEL norm_sum(const stored *__restrict__ grad, const unsigned char *__restrict__ bits, const stored *__restrict__ x,
                const stored *__restrict__ more, stored *__restrict__ joined, const real *__restrict__ mean,
                int channels, long long together, real *__restrict__ sums, long long neurons, int steps, real decay,
                real slope, int inside, int stops, int width, int per_byte, int columns, int wide) {
    __shared__ real shared[2 * VECTOR * 256];
    Chain chain = {decay, slope, inside, stops, width, per_byte};
    if (wide)
        sum_columns<VECTOR>(shared, grad, bits, x, more, joined, mean, channels, together, sums, neurons, steps, chain,
                            columns);
    else
        sum_columns<1>(shared, grad, bits, x, more, joined, mean, channels, together, sums, neurons, steps, chain,
                       columns);
}

// From the sums of all parts the gradients of weight and bias, and what norm_through needs, four rows of channels.
KERNEL norm_finish(const real *__restrict__ sums, int parts, const real *__restrict__ mean,
                   const real *__restrict__ var, const real *__restrict__ weight, int channels, real eps, real count,
                   int batch, real *__restrict__ to_weight, real *__restrict__ to_bias, real *__restrict__ factors,
                   int wide) {
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= channels) return;
    double total = 0, product = 0, inverse = 1 / sqrt((double)var[c] + eps);
    for (int part = 0; part < parts; ++part) {
        total += sums[2LL * part * channels + c];
        product += sums[(2LL * part + 1) * channels + c];
    }
    to_bias[c] = total;
    to_weight[c] = product * inverse;
    factors[c] = weight[c] * inverse;
    if (!batch) return;
    factors[channels + c] = total / count;
    factors[2LL * channels + c] = mean[c];
    factors[3LL * channels + c] = product * inverse * inverse / count;
}

// The gradient of x; where that has nothing to do with x, as its statistics are given, x is null.
template <int WIDTH>
INLINE void through(const stored *grad, const unsigned char *bits, const stored *x, const real *factors, int channels,
                    long long together, stored *out, long long neurons, long long i, int steps, const Chain &chain) {
    real scale[WIDTH], offset[WIDTH], mean[WIDTH], slope[WIDTH];
    each_channel<WIDTH>(i, channels, together, [&](int k, int channel) {
        scale[k] = factors[channel];
        offset[k] = x ? factors[channels + channel] : 0;
        mean[k] = x ? factors[2LL * channels + channel] : 0;
        slope[k] = x ? factors[3LL * channels + channel] : 0;
    });
    steps_back<WIDTH>(grad, bits, neurons, i, steps, chain, [&](int t, const Numbers<WIDTH> &later) {
        Numbers<WIDTH> of = {}, result;
        if (x) of = loaded<WIDTH>(x + t * neurons + i);
        for (int k = 0; k < WIDTH; ++k)
            result.at[k] = scale[k] * ((later.at[k] - offset[k]) - (of.at[k] - mean[k]) * slope[k]);
        put(out + t * neurons + i, store_all(result));
    });
}

KERNEL norm_through(const stored *__restrict__ grad, const unsigned char *__restrict__ bits,
                    const stored *__restrict__ x, const real *__restrict__ factors, int channels, long long together,
                    stored *__restrict__ out, long long neurons, int steps, real decay, real slope, int inside,
                    int stops, int width, int per_byte, int wide) {
    Chain chain = {decay, slope, inside, stops, width, per_byte};
    EACH(i) {
        if (wide)
            through<VECTOR>(grad, bits, x, factors, channels, together, out, neurons, i, steps, chain);
        else
            through<1>(grad, bits, x, factors, channels, together, out, neurons, i, steps, chain);
    }
}
