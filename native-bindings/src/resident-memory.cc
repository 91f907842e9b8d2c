// residentMemory(bytes): Buffer of zeros whose pages are in memory, writable, for as long as it lives.
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "arguments.h"
#include "operations.h"

namespace thinfs {
namespace {

void release(napi_env, void* data, void* hint) {
  munmap(data, reinterpret_cast<size_t>(hint));
}

}  // namespace

napi_value residentMemory(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const auto bytes = static_cast<size_t>(arguments.integer(0));
  if (arguments.failed()) return nullptr;
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (data == MAP_FAILED) {
    napi_throw_error(env, "unavailable", strerror(errno));
    return nullptr;
  }
  // A fork would make the pages read-only until they are next written, each by a page fault.
  madvise(data, bytes, MADV_DONTFORK);
  mlock(data, bytes);  // may be more than RLIMIT_MEMLOCK: then only until memory is short
  napi_value buffer;
  if (napi_create_external_buffer(env, bytes, data, release, reinterpret_cast<void*>(bytes),
                                  &buffer) != napi_ok) {
    munmap(data, bytes);
    return nullptr;
  }
  return buffer;
}

}  // namespace thinfs
