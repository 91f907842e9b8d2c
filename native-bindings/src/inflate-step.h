// One step of a streaming decompressor: from `input` into `output`, as far as either goes.
#pragma once

#include <atomic>
#include <memory>

#include "arguments.h"
#include "work.h"

namespace thinfs {

// A decompressor between steps. `busy` is set while a step runs: two at once would be a data race.
struct Inflater : State {
  using State::State;

  struct Outcome {
    size_t consumed = 0;
    size_t produced = 0;
    const char* problem = nullptr;  // of the input; nullptr if there is none
  };
  virtual Outcome step(Bytes input, Bytes output) = 0;
  // True between two members or frames: the input may end here.
  virtual bool complete() const = 0;

  std::atomic<bool> busy{false};
};

// Starts step(input, output) on a pool thread: Promise<[consumed, produced, complete]>.
napi_value startStep(napi_env env, Arguments& arguments, std::shared_ptr<Inflater> inflater);

}  // namespace thinfs
