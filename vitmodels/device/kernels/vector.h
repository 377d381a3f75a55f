// Vectors as wide as the registers of the processor this is compiled for, and functions of them.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
constexpr int LANES = 16;
constexpr int TILE_ROWS = 12;  // of the matrix product's innermost tile: what the registers hold
#elif defined(__AVX__)
constexpr int LANES = 8;
constexpr int TILE_ROWS = 6;
#else
constexpr int LANES = 4;
constexpr int TILE_ROWS = 8;
#endif

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int32_t IntVec __attribute__((vector_size(4 * LANES)));

static inline Vec load(const float* from) {
    Vec x;
    std::memcpy(&x, from, sizeof x);
    return x;
}

static inline void store(float* to, Vec x) { std::memcpy(to, &x, sizeof x); }

// The first `count` elements, zeros behind them.
static inline Vec load_some(const float* from, int64_t count) {
    if (count >= LANES) return load(from);
#if defined(__AVX512F__)
    return (Vec)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from);
#else
    Vec x = {};
    for (int64_t i = 0; i < count; ++i) x[i] = from[i];
    return x;
#endif
}

static inline void store_some(float* to, Vec x, int64_t count) {
    if (count >= LANES) return store(to, x);
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << count) - 1), (__m512)x);
#else
    for (int64_t i = 0; i < count; ++i) to[i] = x[i];
#endif
}

// The first `count` elements of x, zeros behind them.
static inline Vec first(Vec x, int64_t count) {
    if (count >= LANES) return x;
    IntVec lane;
    for (int i = 0; i < LANES; ++i) lane[i] = i;
    return lane < static_cast<int32_t>(count) ? x : Vec{};
}

static inline Vec all(float x) { return x - Vec{}; }

static inline Vec larger(Vec x, Vec y) { return x > y ? x : y; }

// The sum of the elements, by halves.
static inline float sum(Vec x) {
    float part[LANES];
    store(part, x);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) part[i] += part[i + half];
    return part[0];
}

// e^x for x <= 0, with a relative error below 2e-7; below -87 it stays at e^-87. The Taylor series after taking out powers of two.
static inline Vec exp_down(Vec x) {
    x = x < -87.0f ? all(-87.0f) : x;  // not the other way round: what is not a number stays so
    const IntVec n = __builtin_convertvector(x * 1.44269504f - 0.5f, IntVec);
    const Vec power = __builtin_convertvector(n, Vec);
    const Vec r = (x - power * 0.693359375f) + power * 2.12194440e-4f;  // ln 2 in two parts
    Vec y = r * (1.0f / 5040) + 1.0f / 720;
    y = y * r + 1.0f / 120;
    y = y * r + 1.0f / 24;
    y = y * r + 1.0f / 6;
    y = y * r + 0.5f;
    y = y * r + 1.0f;
    y = y * r + 1.0f;
    const IntVec bits = (n + 127) << 23;
    Vec scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return y * scale;
}

// The normal distribution function of x, and its density, by formula 7.1.26 of Abramowitz and Stegun (error 1e-7).
struct Normal {
    Vec below, density;
};

static inline Normal normal(Vec x) {
    const Vec z = larger(x, -x);
    const Vec e = exp_down(z * z * -0.5f);
    const Vec t = 1.0f / (z * (0.3275911f * 0.70710678f) + 1.0f);
    Vec tail = t * 1.061405429f - 1.453152027f;
    tail = tail * t + 1.421413741f;
    tail = tail * t - 0.284496736f;
    tail = tail * t + 0.254829592f;
    tail = tail * t * e * 0.5f;
    return {x < 0.0f ? tail : 1.0f - tail, e * 0.39894228f};
}
