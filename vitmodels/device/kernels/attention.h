// Attention of every head among the tokens of every sequence: forward and gradient. The scores are never in memory as
// a whole: a thread makes those of one head of one sequence, and the gradient makes them again.
//
// Inside, matrices stand with one query (or one key) per lane, padded to whole vectors, so that softmax runs over vectors.
#pragma once

#include <algorithm>

#include "parallel.h"
#include "vector.h"

// What belongs to one head: element (token, channel) stands at data[token * stride + channel].
struct Head {
    float* data;
    int64_t stride;
};

struct HeadShape {
    int64_t tokens, channels, padded;  // padded: tokens, up to whole vectors

    HeadShape(int64_t tokens, int64_t channels)
        : tokens(tokens), channels(channels), padded(parts_of(tokens, LANES) * LANES) {}
    int64_t square() const { return tokens * padded; }
    int64_t thin() const { return channels * padded; }
};

// c[r] (r < R) = the sum over k of a[r * rows + k * columns] * b[k], where b and c are columns of vectors.
template <int R>
static inline void lanes_tile(int64_t depth, const float* a, int64_t rows, int64_t columns, const float* b, float* c,
                              int64_t step) {
    Vec sums[R] = {};
    for (int64_t k = 0; k < depth; ++k, b += step, a += columns) {
        const Vec row = load(b);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) sums[r] += a[r * rows] * row;
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) store(c + r * step, sums[r]);
}

// c (m, padded) = a (m, depth) b (depth, padded)
static inline void lanes_product(int64_t m, int64_t depth, const float* a, int64_t rows, int64_t columns, const float* b,
                                 float* c, int64_t padded) {
    for (int64_t lane = 0; lane < padded; lane += LANES) {
        int64_t r = 0;
        for (; r + 8 <= m; r += 8) lanes_tile<8>(depth, a + r * rows, rows, columns, b + lane, c + r * padded + lane, padded);
        for (; r + 2 <= m; r += 2) lanes_tile<2>(depth, a + r * rows, rows, columns, b + lane, c + r * padded + lane, padded);
        for (; r < m; ++r) lanes_tile<1>(depth, a + r * rows, rows, columns, b + lane, c + r * padded + lane, padded);
    }
}

// to (channels, padded) = the head's matrix with tokens as lanes, zeros in the padding.
static inline void to_lanes(Head from, const HeadShape& s, float* to) {
    for (int64_t c = 0; c < s.channels; ++c) {
        float* const row = to + c * s.padded;
        for (int64_t t = 0; t < s.tokens; ++t) row[t] = from.data[t * from.stride + c];
        for (int64_t t = s.tokens; t < s.padded; ++t) row[t] = 0.0f;
    }
}

static inline void from_lanes(const float* from, const HeadShape& s, float factor, Head to) {
    for (int64_t t = 0; t < s.tokens; ++t)
        for (int64_t c = 0; c < s.channels; ++c) to.data[t * to.stride + c] = from[c * s.padded + t] * factor;
}

// to (tokens, padded) = from (tokens, padded) with the two tokens exchanged, zeros in the padding.
static inline void exchange(const float* from, const HeadShape& s, float* to) {
    for (int64_t top = 0; top < s.tokens; top += 16)
        for (int64_t left = 0; left < s.tokens; left += 16)
            for (int64_t i = top; i < std::min(top + 16, s.tokens); ++i)
                for (int64_t j = left; j < std::min(left + 16, s.tokens); ++j)
                    to[i * s.padded + j] = from[j * s.padded + i];
    for (int64_t i = 0; i < s.tokens; ++i)
        for (int64_t j = s.tokens; j < s.padded; ++j) to[i * s.padded + j] = 0.0f;
}

// p (keys, queries) = softmax over the keys of the products of q and k, times scale. `lanes` has room for q.
static inline void weights(Head q, Head k, const HeadShape& s, float scale, float* lanes, float* p) {
    to_lanes(q, s, lanes);
    lanes_product(s.tokens, s.channels, k.data, k.stride, 1, lanes, p, s.padded);
    for (int64_t lane = 0; lane < s.padded; lane += LANES) {
        float* const column = p + lane;
        Vec top = load(column), total = {};
        for (int64_t j = 1; j < s.tokens; ++j) top = larger(top, load(column + j * s.padded));
        for (int64_t j = 0; j < s.tokens; ++j) {
            const Vec e = exp_down((load(column + j * s.padded) - top) * scale);
            total += e;
            store(column + j * s.padded, e);
        }
        const Vec share = 1.0f / total;
        for (int64_t j = 0; j < s.tokens; ++j) store(column + j * s.padded, load(column + j * s.padded) * share);
    }
}

static inline void attend(Head q, Head k, Head v, Head out, const HeadShape& s, float scale) {
    static thread_local Scratch memory;
    float* const p = memory.get(s.square() + s.thin());
    float* const lanes = p + s.square();
    weights(q, k, s, scale, lanes, p);
    lanes_product(s.channels, s.tokens, v.data, 1, v.stride, p, lanes, s.padded);
    from_lanes(lanes, s, 1.0f, out);
}

static inline void attend_gradient(Head q, Head k, Head v, Head dout, Head dq, Head dk, Head dv, const HeadShape& s,
                                   float scale) {
    static thread_local Scratch memory;
    float* const p = memory.get(3 * s.square() + 2 * s.thin());
    float* const dp = p + s.square();
    float* const turned = dp + s.square();
    float* const lanes = turned + s.square();
    float* const result = lanes + s.thin();
    weights(q, k, s, scale, lanes, p);
    exchange(p, s, turned);
    lanes_product(s.channels, s.tokens, dout.data, 1, dout.stride, turned, result, s.padded);
    from_lanes(result, s, 1.0f, dv);
    to_lanes(dout, s, lanes);
    lanes_product(s.tokens, s.channels, v.data, v.stride, 1, lanes, dp, s.padded);
    for (int64_t lane = 0; lane < s.padded; lane += LANES) {
        Vec total = {};
        for (int64_t at = lane; at < s.square(); at += s.padded) total += load(p + at) * load(dp + at);
        for (int64_t at = lane; at < s.square(); at += s.padded) store(dp + at, load(p + at) * (load(dp + at) - total));
    }
    lanes_product(s.channels, s.tokens, k.data, 1, k.stride, dp, result, s.padded);
    from_lanes(result, s, scale, dq);
    exchange(dp, s, turned);
    lanes_product(s.channels, s.tokens, q.data, 1, q.stride, turned, result, s.padded);
    from_lanes(result, s, scale, dk);
}
