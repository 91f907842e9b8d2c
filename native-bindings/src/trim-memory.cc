// trimMemory(): gives memory that was freed back to the system, of all threads.
#include <malloc.h>

#include "operations.h"
#include "work.h"

namespace thinfs {

napi_value trimMemory(napi_env env, napi_callback_info) {
  malloc_trim(0);
  return undefinedValue(env);
}

}  // namespace thinfs
