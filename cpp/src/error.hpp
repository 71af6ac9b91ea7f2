// Filling the caller's gm_error: the argument's name, what came, what was expected.
#pragma once
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gradiometer/gradiometer.h"

namespace gradiometer {

__attribute__((format(printf, 4, 5))) inline gm_status fail(gm_error* e, gm_status status,
                                                            const char* argument, const char* format, ...) {
  if (e) {
    e->status = status;
    snprintf(e->argument, sizeof e->argument, "%s", argument);
    va_list args;
    va_start(args, format);
    vsnprintf(e->message, sizeof e->message, format, args);
    va_end(args);
  }
  return status;
}

inline gm_status ok(gm_error* e) {
  if (e) {
    e->status = GM_OK;
    e->argument[0] = e->message[0] = '\0';
  }
  return GM_OK;
}

inline gm_status out_of_memory(gm_error* e, const char* argument, long long bytes) {
  return fail(e, GM_OUT_OF_MEMORY, argument, "could not allocate %lld bytes", bytes);
}

// Leaves the enclosing function with the status of a failed call.
#define GM_TRY(call)                                  \
  do {                                                \
    gm_status gm_try_status = (call);                 \
    if (gm_try_status != GM_OK) return gm_try_status; \
  } while (0)

}  // namespace gradiometer
