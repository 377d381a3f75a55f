// The exit code of a process that has done its work, kept through a crash of another library's clean-up.
#pragma once

#include <csignal>
#include <unistd.h>

namespace ending {

inline int exit_code = 0;

inline void leave(int) { _exit(exit_code); }

// From now on a segmentation fault, a bus error or an abort ends the process with `code`.
inline void keep(int code) {
    exit_code = code;
    for (int number : {SIGSEGV, SIGBUS, SIGABRT}) std::signal(number, leave);
}

}  // namespace ending
