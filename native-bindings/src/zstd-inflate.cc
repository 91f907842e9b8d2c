// zstdInflaterOpen(windowLogMax): handle; zstdInflaterStep(handle, input, output).
// Any number of frames and skippable frames, one after the other.
#include <zstd.h>

#include <memory>

#include "inflate-step.h"
#include "operations.h"

namespace thinfs {
namespace {

struct ZstdInflater final : Inflater {
  static const char tag;

  ZstdInflater() : Inflater(&tag), context(ZSTD_createDCtx()) {}
  ~ZstdInflater() override { ZSTD_freeDCtx(context); }

  Outcome step(Bytes input, Bytes output) override {
    ZSTD_inBuffer in{input.data, input.length, 0};
    ZSTD_outBuffer out{output.data, output.length, 0};
    Outcome outcome;
    // With all input taken, what zstd still holds comes out only if it is called once more.
    do {
      const size_t before = in.pos + out.pos;
      const size_t hint = ZSTD_decompressStream(context, &out, &in);
      if (ZSTD_isError(hint)) {
        outcome.problem = ZSTD_getErrorName(hint);
        break;
      }
      // 0 ends a frame; a call without progress tells nothing about where we are.
      if (in.pos + out.pos != before) between = hint == 0;
    } while (in.pos < in.size && out.pos < out.size);
    outcome.consumed = in.pos;
    outcome.produced = out.pos;
    return outcome;
  }

  bool complete() const override { return between; }

  ZSTD_DCtx* const context;
  bool between = false;
};

const char ZstdInflater::tag = 0;

}  // namespace

napi_value zstdInflaterOpen(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const int64_t windowLogMax = arguments.integer(0);
  if (arguments.failed()) return nullptr;
  auto inflater = std::make_shared<ZstdInflater>();
  if (inflater->context == nullptr ||
      ZSTD_isError(ZSTD_DCtx_setParameter(inflater->context, ZSTD_d_windowLogMax,
                                          static_cast<int>(windowLogMax)))) {
    napi_throw_error(env, "unavailable", "no memory for zstd");
    return nullptr;
  }
  return stateValue(env, inflater);
}

napi_value zstdInflaterStep(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto inflater = arguments.state<ZstdInflater>(0);
  if (arguments.failed()) return nullptr;
  return startStep(env, arguments, inflater);
}

}  // namespace thinfs
