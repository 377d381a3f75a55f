// Images from bytes to the net's input in one pass: normalised, mixed with the neighbour, and by channel.
#pragma once

#include "parallel.h"
#include "vector.h"

struct Images {
    const uint8_t* pixels;       // (images, height, width, 3)
    const float *scale, *offset;  // of each channel
    float* out;                  // (images, 3, height, width)
    int64_t count, height, width;

    const uint8_t* row(int64_t image, int64_t y) const { return pixels + (image * height + y) * width * 3; }
    float* plane(int64_t image, int64_t channel, int64_t y) const {
        return out + ((image * 3 + channel) * height + y) * width;
    }
};

constexpr int64_t IMAGE_ROWS = 16;  // that a thread works on at a time

// body(image, y) for y of every row of each `step`th image.
template <typename Body>
void each_image_row(const Images& all, int64_t step, const Body& body) {
    const int64_t parts = parts_of(all.height, IMAGE_ROWS);
    pool().run(all.count / step * parts, [&](int64_t part) {
        const int64_t top = part % parts * IMAGE_ROWS;
        for (int64_t y = top; y < std::min(all.height, top + IMAGE_ROWS); ++y) body(part / parts * step, y);
    });
}

// Bytes of pixels as numbers, each channel for itself.
inline void separate(const uint8_t* __restrict from, int64_t width, float* __restrict red, float* __restrict green,
                     float* __restrict blue) {
    for (int64_t x = 0; x < width; ++x) {
        red[x] = from[3 * x];
        green[x] = from[3 * x + 1];
        blue[x] = from[3 * x + 2];
    }
}

inline void normalise(const Images& all) {
    each_image_row(all, 1, [&](int64_t image, int64_t y) {
        float* const to[] = {all.plane(image, 0, y), all.plane(image, 1, y), all.plane(image, 2, y)};
        separate(all.row(image, y), all.width, to[0], to[1], to[2]);
        for (int channel = 0; channel < 3; ++channel) {
            const float scale = all.scale[channel], offset = all.offset[channel];
            for (int64_t x = 0; x < all.width; ++x) to[channel][x] = to[channel][x] * scale + offset;
        }
    });
}

// How one row of an image is made of its own and the neighbour's, where the box of the neighbour's pixels is from left to right.
struct Blend {
    float share;
    int64_t left, right;

    Blend(float lam, const int32_t* box, int64_t y, int64_t width) : share(lam), left(0), right(0) {
        if (y < box[0] || y >= box[1]) return;
        left = std::min<int64_t>(std::max<int64_t>(box[2], 0), width);
        right = std::max(left, std::min<int64_t>(box[3], width));
    }

    void row(const float* __restrict own, const float* __restrict other, int64_t width, float scale, float offset,
             float* __restrict to) const {
        part(own, other, 0, left, scale, offset, to);
        for (int64_t x = left; x < right; ++x) to[x] = other[x] * scale + offset;
        part(own, other, right, width, scale, offset, to);
    }

private:
    void part(const float* __restrict own, const float* __restrict other, int64_t begin, int64_t end, float scale,
              float offset, float* __restrict to) const {
        const float rest = 1.0f - share;  // both are exact where an image is not mixed
        for (int64_t x = begin; x < end; ++x) to[x] = (own[x] * share + other[x] * rest) * scale + offset;
    }
};

// lam (images), box (images, 4): top, bottom, left, right. The number of images is even.
inline void normalise_and_mix(const Images& all, const float* lam, const int32_t* box) {
    each_image_row(all, 2, [&](int64_t image, int64_t y) {
        static thread_local Scratch memory;
        const int64_t width = all.width;
        float* const rows = memory.get(6 * width);  // three of either image
        for (int64_t i = 0; i < 2; ++i) {
            float* const to = rows + 3 * i * width;
            separate(all.row(image + i, y), width, to, to + width, to + 2 * width);
        }
        for (int64_t i = 0; i < 2; ++i) {
            const Blend blend(lam[image + i], box + 4 * (image + i), y, width);
            const float *own = rows + 3 * i * width, *other = rows + 3 * (1 - i) * width;
            for (int64_t channel = 0; channel < 3; ++channel)
                blend.row(own + channel * width, other + channel * width, width, all.scale[channel],
                          all.offset[channel], all.plane(image + i, channel, y));
        }
    });
}
