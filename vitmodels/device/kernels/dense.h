// Dense layers, alone and in pairs with GELU between them: forward and gradient.
#pragma once

#include "gemm.h"

// out (columns) = the sum of the rows of x, made from the sums of groups of rows.
static void sum_rows(const float* x, int64_t rows, int64_t columns, float* out) {
    static thread_local Scratch memory;
    const int64_t groups = parts_of(rows, parts_of(rows, GROUPS));
    float* const sums = memory.get(groups * columns);
    each_numbered_group(rows, [&](int64_t top, int64_t height, int64_t group) {
        float* const to = sums + group * columns;
        std::memset(to, 0, columns * sizeof(float));
        for (int64_t row = top; row < top + height; ++row)
            for (int64_t j = 0; j < columns; ++j) to[j] += x[row * columns + j];
    });
    std::memset(out, 0, columns * sizeof(float));
    for (int64_t group = 0; group < groups; ++group)
        for (int64_t j = 0; j < columns; ++j) out[j] += sums[group * columns + j];
}

static inline void gelu(const float* x, int64_t count, float* out) {
    for (int64_t i = 0; i < count; i += LANES) {
        const Vec at = load_some(x + i, count - i);
        store_some(out + i, at * normal(at).below, count - i);
    }
}

// gradient *= GELU'(x), and, unless it is null, out = GELU(x).
static inline void gelu_gradient(const float* x, int64_t count, float* gradient, float* out) {
    for (int64_t i = 0; i < count; i += LANES) {
        const Vec at = load_some(x + i, count - i);
        const Normal p = normal(at);
        if (out) store_some(out + i, at * p.below, count - i);
        store_some(gradient + i, load_some(gradient + i, count - i) * (p.below + at * p.density), count - i);
    }
}

// y (rows, out) = x (rows, in) w (out, in)' + b (out); b may be null.
static void dense(int64_t rows, int64_t in, int64_t out, const float* x, const float* w, const float* b, float* y) {
    gemm(rows, out, in, plain(x, in), transposed(w, in), b, y);
}

// The gradients of x, w and, unless it is null, b.
static void dense_gradient(int64_t rows, int64_t in, int64_t out, const float* dy, const float* x, const float* w,
                           float* dx, float* dw, float* db) {
    gemm(rows, in, out, plain(dy, out), plain(w, in), nullptr, dx);
    gemm(out, in, rows, transposed(dy, out), plain(x, in), nullptr, dw);
    if (db) sum_rows(dy, rows, out, db);
}
