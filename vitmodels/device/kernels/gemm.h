// Matrix products in float32: C = A B, or C = A B + bias, for matrices of any strides.
//
// Both factors are packed into panels that the innermost loop reads from end to end. Every element of C is summed
// in one order, whatever the number of threads.
#pragma once

#include <algorithm>

#include "parallel.h"
#include "vector.h"

// Element (row, column) stands at data[row * rows + column * columns].
struct Matrix {
    const float* data;
    int64_t rows, columns;
};

constexpr int TILE_VECTORS = 2;
constexpr int TILE_COLUMNS = TILE_VECTORS * LANES;
constexpr int64_t DEPTH = 384;                  // of the panels that are multiplied at a time
constexpr int64_t BLOCK_ROWS = 36 / TILE_ROWS * TILE_ROWS;  // of A that one thread packs at a time

// c = start + a b, for panels a (depth, TILE_ROWS) and b (depth, TILE_COLUMNS); rows of start are `step` apart.
static inline void multiply_tile(int64_t depth, const float* a, const float* b, const float* start, int64_t step,
                                 float* c, int64_t ldc) {
    Vec sums[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 16
    for (int r = 0; r < TILE_ROWS; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < TILE_VECTORS; ++v) sums[r][v] = load(start + r * step + v * LANES);
    for (int64_t k = 0; k < depth; ++k, a += TILE_ROWS, b += TILE_COLUMNS) {
        Vec row[TILE_VECTORS];
#pragma GCC unroll 2
        for (int v = 0; v < TILE_VECTORS; ++v) row[v] = load(b + v * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < TILE_ROWS; ++r)
#pragma GCC unroll 2
            for (int v = 0; v < TILE_VECTORS; ++v) sums[r][v] += a[r] * row[v];
    }
#pragma GCC unroll 16
    for (int r = 0; r < TILE_ROWS; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < TILE_VECTORS; ++v) store(c + r * ldc + v * LANES, sums[r][v]);
}

// to[k * width + i] = from[i * across + k] for i < count: in stretches, so that what is written stays in the nearest cache
// until its rows are full.
template <int width>
static inline void turn(const float* from, int64_t across, int64_t count, int64_t depth, float* to) {
    constexpr int64_t STRETCH = 16;
    int64_t begin = 0;
    for (; begin + STRETCH <= depth; begin += STRETCH)
        for (int64_t i = 0; i < count; ++i)
#pragma GCC unroll 16
            for (int64_t k = begin; k < begin + STRETCH; ++k) to[k * width + i] = from[i * across + k];
    for (; begin < depth; ++begin)
        for (int64_t i = 0; i < count; ++i) to[begin * width + i] = from[i * across + begin];
}

// to[k * width + i] = from[i * across + k * along] for i < count, zero for the other i below width. One of the strides is 1.
template <int width>
static inline void pack(const float* from, int64_t across, int64_t along, int64_t count, int64_t depth, float* to) {
    if (count < width) std::memset(to, 0, depth * width * sizeof(float));
    if (across != 1) return turn<width>(from, across, count, depth, to);
    if (count == width) {
        for (int64_t k = 0; k < depth; ++k) std::memcpy(to + k * width, from + k * along, width * sizeof(float));
    } else {
        for (int64_t k = 0; k < depth; ++k)
            for (int64_t i = 0; i < count; ++i) to[k * width + i] = from[k * along + i];
    }
}

// Both factors of a product and where it goes.
struct Product {
    int64_t m, n, k;
    Matrix a, b;
    const float* bias;  // may be null
    float* c;
    float* panels;  // b, packed

    int64_t columns() const { return parts_of(n, TILE_COLUMNS); }

    void pack_right(int64_t column, int64_t begin) const {
        const int64_t depth = std::min(DEPTH, k - begin), left = column * TILE_COLUMNS;
        pack<TILE_COLUMNS>(b.data + left * b.columns + begin * b.rows, b.columns, b.rows,
                           std::min<int64_t>(TILE_COLUMNS, n - left), depth, panel(column, begin));
    }

    float* panel(int64_t column, int64_t begin) const {
        return panels + (begin * columns() + column * std::min(DEPTH, k - begin)) * TILE_COLUMNS;
    }

    // Rows top to top + height of c.
    void multiply_rows(int64_t top, int64_t height) const {
        static thread_local Scratch memory;
        float* const edge = memory.get(parts_of(height, TILE_ROWS) * TILE_ROWS * DEPTH + TILE_ROWS * TILE_COLUMNS);
        float* const left = edge + TILE_ROWS * TILE_COLUMNS;
        for (int64_t begin = 0; begin < k; begin += DEPTH) {
            const int64_t depth = std::min(DEPTH, k - begin);
            for (int64_t r = 0; r < height; r += TILE_ROWS)
                pack<TILE_ROWS>(a.data + (top + r) * a.rows + begin * a.columns, a.rows, a.columns,
                                std::min<int64_t>(TILE_ROWS, height - r), depth, left + r * depth);
            for (int64_t column = 0; column < columns(); ++column)
                for (int64_t r = 0; r < height; r += TILE_ROWS)
                    tile(begin, left + r * depth, top + r, std::min<int64_t>(TILE_ROWS, height - r), column, edge);
        }
    }

    // One tile's slice that begins at `begin`, onto what the slices before made, or the bias. `edge` has room for a tile.
    void tile(int64_t begin, const float* left, int64_t row, int64_t rows, int64_t column, float* edge) const {
        static const float zeros[TILE_COLUMNS] = {};
        const int64_t depth = std::min(DEPTH, k - begin), at = column * TILE_COLUMNS;
        const int64_t width = std::min<int64_t>(TILE_COLUMNS, n - at);
        float* const to = c + row * n + at;
        const float* const start = begin ? to : bias ? bias + at : zeros;
        const int64_t step = begin ? n : 0;
        if (rows == TILE_ROWS && width == TILE_COLUMNS)
            return multiply_tile(depth, left, panel(column, begin), start, step, to, n);
        for (int64_t i = 0; i < rows; ++i)
            std::memcpy(edge + i * TILE_COLUMNS, start + i * step, width * sizeof(float));
        multiply_tile(depth, left, panel(column, begin), edge, TILE_COLUMNS, edge, TILE_COLUMNS);
        for (int64_t i = 0; i < rows; ++i) std::memcpy(to + i * n, edge + i * TILE_COLUMNS, width * sizeof(float));
    }
};

// c (m, n), rows one after the other, = a (m, k) b (k, n) + bias (n), which may be null. When rows top to top + height
// are done, then(top, height) is called in the thread that made them.
template <typename Then>
static void gemm(int64_t m, int64_t n, int64_t k, Matrix a, Matrix b, const float* bias, float* c, const Then& then) {
    static thread_local Scratch memory;
    const Product product{m, n, k, a, b, bias, c, memory.get(parts_of(n, TILE_COLUMNS) * TILE_COLUMNS * k)};
    const int64_t columns = product.columns();
    pool().run(columns * parts_of(k, DEPTH),
               [&](int64_t part) { product.pack_right(part % columns, part / columns * DEPTH); });
    int64_t block = BLOCK_ROWS;
    while (block > TILE_ROWS && parts_of(m, block) < 8) block -= TILE_ROWS;
    pool().run(parts_of(m, block), [&](int64_t part) {
        const int64_t top = part * block, height = std::min(block, m - top);
        product.multiply_rows(top, height);
        then(top, height);
    });
}

static void gemm(int64_t m, int64_t n, int64_t k, Matrix a, Matrix b, const float* bias, float* c) {
    gemm(m, n, k, a, b, bias, c, [](int64_t, int64_t) {});
}

static inline Matrix plain(const float* data, int64_t width) { return {data, width, 1}; }
static inline Matrix transposed(const float* data, int64_t width) { return {data, 1, width}; }
