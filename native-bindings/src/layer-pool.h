// Threads of our own for what a layer's bytes go through, thousands of times in a pull: inflate,
// hash, store.
#pragma once

#include <initializer_list>
#include <memory>

#include "work.h"

namespace thinfs {

// As start() does, but on as many threads as there are cores and one more. libuv's pool has many, for
// disks that hang, and wakes the one that has slept longest: on two cores that makes a third more
// changes of threads, which the kernel then leaves all on one core while the other rests.
napi_value startOnLayerPool(napi_env env, std::unique_ptr<Work> work,
                            std::initializer_list<napi_value> kept);

}  // namespace thinfs
