// A small pool of threads, and the scratch memory of each.
//
// Work is cut into parts that depend on shapes only, and no part's result depends on which thread makes it or
// when. So the result has the same bits with any number of threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

class Pool {
public:
    // The number of threads of the next calls, the caller's included.
    void resize(int threads) {
        std::lock_guard<std::mutex> turn(busy_);
        stop();
        for (int i = 1; i < threads; ++i) workers_.emplace_back([this, seen = round_] { serve(seen); });
    }

    ~Pool() { stop(); }

    // Calls body(part) once for each part of 0 .. parts - 1. A second caller at the same time works alone.
    template <typename Body>
    void run(int64_t parts, const Body& body) {
        std::unique_lock<std::mutex> turn(busy_, std::try_to_lock);
        if (!turn.owns_lock() || workers_.empty() || parts < 2) {
            for (int64_t i = 0; i < parts; ++i) body(i);
            return;
        }
        {
            std::lock_guard<std::mutex> hold(mutex_);
            call_ = [](const void* what, int64_t part) { (*static_cast<const Body*>(what))(part); };
            body_ = &body;
            parts_ = parts;
            next_.store(0, std::memory_order_relaxed);
            open_ = true;
            ++round_;
        }
        wake_.notify_all();
        take(call_, body_, parts_);
        std::unique_lock<std::mutex> hold(mutex_);
        open_ = false;  // who has not begun by now sleeps on: on a busy machine nobody waits for him
        done_.wait(hold, [this] { return active_ == 0; });
    }

private:
    using Call = void (*)(const void*, int64_t);

    void take(Call call, const void* body, int64_t parts) {
        for (int64_t i = next_.fetch_add(1); i < parts; i = next_.fetch_add(1)) call(body, i);
    }

    // `seen` is the last round that is none of this worker's.
    void serve(uint64_t seen) {
        std::unique_lock<std::mutex> hold(mutex_);
        for (;;) {
            wake_.wait(hold, [&] { return stopping_ || (open_ && round_ != seen); });
            if (stopping_) return;
            seen = round_;
            ++active_;
            const Call call = call_;
            const void* body = body_;
            const int64_t parts = parts_;
            hold.unlock();
            take(call, body, parts);
            hold.lock();
            if (--active_ == 0) done_.notify_one();
        }
    }

    void stop() {
        {
            std::lock_guard<std::mutex> hold(mutex_);
            stopping_ = true;
        }
        wake_.notify_all();
        for (auto& worker : workers_) worker.join();
        workers_.clear();
        stopping_ = false;
    }

    std::vector<std::thread> workers_;
    std::mutex busy_, mutex_;
    std::condition_variable wake_, done_;
    std::atomic<int64_t> next_{0};
    Call call_ = nullptr;
    const void* body_ = nullptr;
    int64_t parts_ = 0;
    uint64_t round_ = 0;
    int active_ = 0;
    bool open_ = false, stopping_ = false;
};

// Lives until the process ends: at exit no thread is left to wait for.
inline Pool& pool() {
    static Pool* const one = new Pool;
    return *one;
}

// Memory that a thread uses again and again; what is in it is undefined.
class Scratch {
public:
    float* get(int64_t floats) {
        if (floats > size_) {
            std::free(memory_);
            size_ = (floats + 15) / 16 * 16;
            memory_ = static_cast<float*>(std::aligned_alloc(64, size_ * sizeof(float)));
            if (memory_ == nullptr) throw std::bad_alloc();
        }
        return memory_;
    }

    ~Scratch() { std::free(memory_); }

private:
    float* memory_ = nullptr;
    int64_t size_ = 0;
};

inline int64_t parts_of(int64_t count, int64_t size) { return (count + size - 1) / size; }

constexpr int64_t GROUPS = 64;  // of rows, each of which one thread works on

// The first row and the number of rows of the groups: body(top, height, group) for each.
template <typename Body>
void each_numbered_group(int64_t rows, const Body& body) {
    const int64_t height = parts_of(rows, GROUPS);
    pool().run(parts_of(rows, height), [&](int64_t group) {
        body(group * height, std::min(height, rows - group * height), group);
    });
}

template <typename Body>
void each_group(int64_t rows, const Body& body) {
    each_numbered_group(rows, [&](int64_t top, int64_t height, int64_t) { body(top, height); });
}
