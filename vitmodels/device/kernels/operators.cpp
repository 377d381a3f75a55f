// The operators, in the calling convention of MindSpore's ahead-of-time custom operators: inputs, then outputs.
//
// All tensors but images and boxes are float32. Matrices have one row for each token.

#include <exception>
#include <stdexcept>

#include "attention.h"
#include "dense.h"
#include "ending.h"
#include "images.h"
#include "norm.h"
#include "update.h"

namespace {

struct Call {
    void** params;
    int64_t** shapes;

    float* operator[](int i) const { return static_cast<float*>(params[i]); }
    int64_t size(int i, int axis) const { return shapes[i][axis]; }
};

template <typename Body>
int guarded(const Body& body) {
    try {
        body();
        return 0;
    } catch (const std::exception&) {
        return 1;
    }
}

// Queries, keys and values of all heads: where each begins, and how far apart tokens are.
struct Heads {
    float *q, *k, *v;
    int64_t qk_stride, v_stride;

    Heads(float* qk, float* v, int64_t dim) : q(qk), k(qk + dim), v(v), qk_stride(2 * dim), v_stride(dim) {}
    Heads(float* qkv, int64_t dim) : q(qkv), k(qkv + dim), v(qkv + 2 * dim), qk_stride(3 * dim), v_stride(3 * dim) {}

    Head query(int64_t row, int64_t column) const { return {q + row * qk_stride + column, qk_stride}; }
    Head key(int64_t row, int64_t column) const { return {k + row * qk_stride + column, qk_stride}; }
    Head value(int64_t row, int64_t column) const { return {v + row * v_stride + column, v_stride}; }
};

// body(row, column) for the first row of every sequence and the first column of every head.
template <typename Body>
void each_head(int64_t rows, int64_t dim, const float* layout, const Body& body) {
    const int64_t tokens = static_cast<int64_t>(layout[0]), heads = static_cast<int64_t>(layout[1]);
    const HeadShape shape(tokens, dim / heads);
    const float scale = 1.0f / std::sqrt(static_cast<float>(shape.channels));
    const int64_t group = std::max<int64_t>(1, 1024 / tokens), all = rows / tokens * heads;
    pool().run(parts_of(all, group), [&](int64_t part) {
        for (int64_t i = part * group; i < std::min(all, (part + 1) * group); ++i)
            body(i / heads * tokens, i % heads * shape.channels, shape, scale);
    });
}

void attention(const Heads& in, float* out, int64_t rows, int64_t dim, const float* layout) {
    each_head(rows, dim, layout, [&](int64_t row, int64_t column, const HeadShape& shape, float scale) {
        attend(in.query(row, column), in.key(row, column), in.value(row, column), {out + row * dim + column, dim}, shape,
               scale);
    });
}

void attention_gradient(float* dout, const Heads& in, const Heads& gradient, int64_t rows, int64_t dim,
                        const float* layout) {
    each_head(rows, dim, layout, [&](int64_t row, int64_t column, const HeadShape& shape, float scale) {
        attend_gradient(in.query(row, column), in.key(row, column), in.value(row, column),
                        {dout + row * dim + column, dim}, gradient.query(row, column), gradient.key(row, column),
                        gradient.value(row, column), shape, scale);
    });
}

int64_t elements(const int64_t* shape, int axes) {
    int64_t count = 1;
    for (int axis = 0; axis < axes; ++axis) count *= shape[axis];
    return count;
}

// Input 0 and what its channels are multiplied with and moved by, to be written to the tensor `out`.
Images images_of(const Call& t, int out) {
    return {static_cast<const uint8_t*>(t.params[0]), t[1], t[2], t[out], t.size(0, 0), t.size(0, 1), t.size(0, 2)};
}

}  // namespace

#define OPERATOR(name) \
    extern "C" int name(int, void** params, int* axes, int64_t** shapes, const char**, void*, void*)

extern "C" void keep_exit_code(int code) { ending::keep(code); }

extern "C" void set_threads(int threads) { pool().resize(threads); }

// x (rows, in), w (out, in), b (out) -> y
OPERATOR(linear) {
    const Call t{params, shapes};
    return guarded([&] { dense(t.size(0, 0), t.size(0, 1), t.size(1, 0), t[0], t[1], t[2], t[3]); });
}

// dy, x, w -> dx, dw, db
OPERATOR(linear_gradient) {
    const Call t{params, shapes};
    return guarded([&] {
        dense_gradient(t.size(1, 0), t.size(1, 1), t.size(2, 0), t[0], t[1], t[2], t[3], t[4], t[5]);
    });
}

// x, w -> y
OPERATOR(product) {
    const Call t{params, shapes};
    return guarded([&] { dense(t.size(0, 0), t.size(0, 1), t.size(1, 0), t[0], t[1], nullptr, t[2]); });
}

// dy, x, w -> dx, dw
OPERATOR(product_gradient) {
    const Call t{params, shapes};
    return guarded([&] {
        dense_gradient(t.size(1, 0), t.size(1, 1), t.size(2, 0), t[0], t[1], t[2], t[3], t[4], nullptr);
    });
}

// x (rows, in), w1 (hidden, in), b1, w2 (out, hidden), b2 -> y (rows, out), h (rows, hidden): the input of GELU
OPERATOR(mlp) {
    const Call t{params, shapes};
    return guarded([&] {
        static thread_local Scratch memory;
        const int64_t rows = t.size(0, 0), in = t.size(0, 1), hidden = t.size(1, 0), out = t.size(3, 0);
        float *const active = memory.get(rows * hidden), *const h = t[6];
        gemm(rows, hidden, in, plain(t[0], in), transposed(t[1], in), t[2], h, [&](int64_t top, int64_t height) {
            gelu(h + top * hidden, height * hidden, active + top * hidden);
        });
        dense(rows, hidden, out, active, t[3], t[4], t[5]);
    });
}

// dy, x, h, w1, w2 -> dx, dw1, db1, dw2, db2
OPERATOR(mlp_gradient) {
    const Call t{params, shapes};
    return guarded([&] {
        static thread_local Scratch memory;
        const int64_t rows = t.size(1, 0), in = t.size(1, 1), hidden = t.size(3, 0), out = t.size(4, 0);
        float *const active = memory.get(2 * rows * hidden), *const dh = active + rows * hidden;
        const float* const h = t[2];
        gemm(rows, hidden, out, plain(t[0], out), plain(t[4], hidden), nullptr, dh, [&](int64_t top, int64_t height) {
            gelu_gradient(h + top * hidden, height * hidden, dh + top * hidden, active + top * hidden);
        });
        gemm(out, hidden, rows, transposed(t[0], out), plain(active, hidden), nullptr, t[8]);
        sum_rows(t[0], rows, out, t[9]);
        dense_gradient(rows, in, hidden, dh, t[1], t[3], t[5], t[6], t[7]);
    });
}

// x (rows, width) -> y
OPERATOR(gelu_of) {
    const Call t{params, shapes};
    return guarded([&] {
        const int64_t width = t.size(0, 1);
        each_group(t.size(0, 0), [&](int64_t top, int64_t height) {
            gelu(t[0] + top * width, height * width, t[1] + top * width);
        });
    });
}

// dy, x -> dx
OPERATOR(gelu_gradient_of) {
    const Call t{params, shapes};
    return guarded([&] {
        const int64_t width = t.size(0, 1);
        each_group(t.size(0, 0), [&](int64_t top, int64_t height) {
            std::memcpy(t[2] + top * width, t[0] + top * width, height * width * sizeof(float));
            gelu_gradient(t[1] + top * width, height * width, t[2] + top * width, nullptr);
        });
    });
}

// x (rows, width), w (width), b (width), eps (1) -> y
OPERATOR(layer_norm) {
    const Call t{params, shapes};
    return guarded([&] { norm(t.size(0, 0), t.size(0, 1), t[0], t[1], t[2], t[3][0], t[4]); });
}

// dy, x, w, eps -> dx, dw, db
OPERATOR(layer_norm_gradient) {
    const Call t{params, shapes};
    return guarded([&] { norm_gradient(t.size(1, 0), t.size(1, 1), t[0], t[1], t[2], t[3][0], t[4], t[5], t[6]); });
}

// qk (rows, 2 dim), v (rows, dim), layout (2): tokens of a sequence and heads -> out (rows, dim)
OPERATOR(attention_qk_v) {
    const Call t{params, shapes};
    return guarded([&] {
        const int64_t dim = t.size(1, 1);
        attention(Heads(t[0], t[1], dim), t[3], t.size(1, 0), dim, t[2]);
    });
}

// dout, qk, v, layout -> dqk, dv
OPERATOR(attention_qk_v_gradient) {
    const Call t{params, shapes};
    return guarded([&] {
        const int64_t dim = t.size(2, 1);
        attention_gradient(t[0], Heads(t[1], t[2], dim), Heads(t[4], t[5], dim), t.size(2, 0), dim, t[3]);
    });
}

// qkv (rows, 3 dim), layout -> out
OPERATOR(attention_qkv) {
    const Call t{params, shapes};
    return guarded([&] {
        const int64_t dim = t.size(0, 1) / 3;
        attention(Heads(t[0], dim), t[2], t.size(0, 0), dim, t[1]);
    });
}

// dout, qkv, layout -> dqkv
OPERATOR(attention_qkv_gradient) {
    const Call t{params, shapes};
    return guarded([&] {
        const int64_t dim = t.size(0, 1);
        attention_gradient(t[0], Heads(t[1], dim), Heads(t[3], dim), t.size(0, 0), dim, t[2]);
    });
}

// images uint8 (images, height, width, 3), scale (3), offset (3) -> y (images, 3, height, width)
OPERATOR(normalise_images) {
    const Call t{params, shapes};
    return guarded([&] { normalise(images_of(t, 3)); });
}

// images, scale, offset as above, lam (images), box int32 (images, 4) -> y
OPERATOR(normalise_and_mix_images) {
    const Call t{params, shapes};
    return guarded([&] {
        if (t.size(0, 0) % 2 != 0) throw std::invalid_argument("an image has no neighbour");
        normalise_and_mix(images_of(t, 5), t[3], static_cast<const int32_t*>(params[4]));
    });
}

// p, m, v, gradient, scalars (3): rate, eps and decay, factor of the gradient (), traits (4): share of the rate, share of
// the decay, 1 - beta 1, 1 - beta 2 -> rate (1). p, m and v are overwritten.
OPERATOR(adamw) {
    const Call t{params, shapes};
    return guarded([&] {
        const float *const scalars = t[4], *const traits = t[6];
        const float rate = scalars[0] * traits[0];
        update({rate, scalars[1], scalars[2] * traits[1], *t[5], traits[2], traits[3]}, t[0], t[1], t[2], t[3],
               elements(shapes[0], axes[0]));
        *t[7] = rate;
    });
}

// x -> the sum of its squares (1)
OPERATOR(square_sum_of) {
    const Call t{params, shapes};
    return guarded([&] { *t[1] = square_sum(t[0], elements(shapes[0], axes[0])); });
}
