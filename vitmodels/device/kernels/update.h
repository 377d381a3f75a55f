// AdamW in one pass over a parameter, its gradient and its two moments, and the gradient's norm.
#pragma once

#include <cmath>

#include "parallel.h"
#include "vector.h"

constexpr int64_t UPDATE_PART = 1 << 15;  // of elements that a thread works on at a time

// What an update has in common for all elements of a parameter.
struct AdamW {
    float rate, eps, decay, factor;  // `factor` is what gradients are multiplied with
    float first, second;             // share of the gradient, and of its square, in the new moments

    // p -= rate * (m / (sqrt(v) + eps) + decay * p), after m and v have taken the gradient in.
    void step(float* __restrict p, float* __restrict m, float* __restrict v, const float* __restrict grad,
              int64_t count) const {
        for (int64_t i = 0; i < count; ++i) {
            const float g = grad[i] * factor;
            m[i] += (g - m[i]) * first;
            v[i] += (g * g - v[i]) * second;
            p[i] -= rate * (m[i] / (std::sqrt(v[i]) + eps) + decay * p[i]);
        }
    }
};

static void update(const AdamW& adam, float* p, float* m, float* v, const float* grad, int64_t count) {
    pool().run(parts_of(count, UPDATE_PART), [&](int64_t part) {
        const int64_t at = part * UPDATE_PART;
        adam.step(p + at, m + at, v + at, grad + at, std::min(UPDATE_PART, count - at));
    });
}

// The sum of the squares of x.
static float square_sum(const float* x, int64_t count) {
    static thread_local Scratch memory;
    const int64_t parts = parts_of(count, UPDATE_PART);
    float* const sums = memory.get(parts);
    pool().run(parts, [&](int64_t part) {
        const int64_t begin = part * UPDATE_PART, end = std::min(count, begin + UPDATE_PART);
        Vec total = {};
        for (int64_t i = begin; i < end; i += LANES) {
            const Vec at = load_some(x + i, end - i);
            total += at * at;
        }
        sums[part] = sum(total);
    });
    double total = 0.0;
    for (int64_t part = 0; part < parts; ++part) total += sums[part];
    return static_cast<float>(total);
}
