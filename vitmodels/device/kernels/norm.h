// LayerNorm over the last axis: forward and gradient.
#pragma once

#include <cmath>

#include "parallel.h"
#include "vector.h"

struct Moments {
    float mean, scale;  // scale is 1 / sqrt(variance + eps)
};

static inline Moments moments(const float* x, int64_t width, float eps) {
    Vec total = {}, squares = {};
    for (int64_t j = 0; j < width; j += LANES) total += load_some(x + j, width - j);
    const float mean = sum(total) / width;
    for (int64_t j = 0; j < width; j += LANES) {
        const Vec d = first(load_some(x + j, width - j) - mean, width - j);
        squares += d * d;
    }
    return {mean, 1.0f / std::sqrt(sum(squares) / width + eps)};
}

static void norm(int64_t rows, int64_t width, const float* x, const float* w, const float* b, float eps, float* y) {
    each_group(rows, [&](int64_t top, int64_t height) {
        for (int64_t row = top; row < top + height; ++row) {
            const float* const from = x + row * width;
            const Moments m = moments(from, width, eps);
            for (int64_t j = 0; j < width; ++j) y[row * width + j] = (from[j] - m.mean) * m.scale * w[j] + b[j];
        }
    });
}

// The gradients of x, w and b.
static void norm_gradient(int64_t rows, int64_t width, const float* dy, const float* x, const float* w, float eps,
                          float* dx, float* dw, float* db) {
    static thread_local Scratch memory;
    const int64_t groups = parts_of(rows, parts_of(rows, GROUPS));
    float* const sums = memory.get(2 * groups * width);
    each_numbered_group(rows, [&](int64_t top, int64_t height, int64_t group) {
        float* const of_w = sums + 2 * group * width;
        float* const of_b = of_w + width;
        std::memset(of_w, 0, 2 * width * sizeof(float));
        for (int64_t row = top; row < top + height; ++row) {
            const float* const from = x + row * width;
            const float* const upper = dy + row * width;
            const Moments m = moments(from, width, eps);
            Vec total = {}, along = {};
            for (int64_t j = 0; j < width; j += LANES) {
                const int64_t count = width - j;
                const Vec g = load_some(upper + j, count), n = (load_some(from + j, count) - m.mean) * m.scale;
                store_some(of_w + j, load_some(of_w + j, count) + g * n, count);
                store_some(of_b + j, load_some(of_b + j, count) + g, count);
                const Vec d = g * load_some(w + j, count);
                total += d;
                along += d * n;
            }
            const float mean = sum(total) / width, slope = sum(along) / width;
            for (int64_t j = 0; j < width; ++j) {
                const float n = (from[j] - m.mean) * m.scale;
                dx[row * width + j] = (upper[j] * w[j] - mean - n * slope) * m.scale;
            }
        }
    });
    std::memset(dw, 0, width * sizeof(float));
    std::memset(db, 0, width * sizeof(float));
    for (int64_t group = 0; group < groups; ++group)
        for (int64_t j = 0; j < width; ++j) {
            dw[j] += sums[2 * group * width + j];
            db[j] += sums[(2 * group + 1) * width + j];
        }
}
