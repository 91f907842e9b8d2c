// zstdCompress(input, output, level, prefix): Promise<number>, the length of the one zstd frame in
// output. With a prefix that is not empty the frame refers to it as to bytes before its own, and has a
// checksum of what it decodes to.
// zstdCompressNow(input, output, level): number, the same without a prefix, on this thread.
#include <zstd.h>

#include <memory>
#include <string>

#include "arguments.h"
#include "operations.h"
#include "work.h"

namespace thinfs {
namespace {

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

// One context for each pool thread: making one costs as much as compressing some 30 KiB. What a
// context did before does not show in its output, zstd tests for that and so do we.
ZSTD_CCtx* threadContext() {
  thread_local std::unique_ptr<ZSTD_CCtx, FreeContext> context(ZSTD_createCCtx());
  return context.get();
}

class Compress final : public Work {
 public:
  Compress(Bytes input, Bytes output, int level, Bytes prefix)
      : input_(input), output_(output), level_(level), prefix_(prefix) {}

  void run() override {
    ZSTD_CCtx* context = threadContext();
    if (context == nullptr) return fail("unavailable", "no memory for zstd");
    ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters);
    ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level_);
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 1);
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, prefix_.length > 0 ? 1 : 0);
    ZSTD_CCtx_refPrefix(context, prefix_.data, prefix_.length);
    length_ = ZSTD_compress2(context, output_.data, output_.length, input_.data, input_.length);
    ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters);
    if (ZSTD_isError(length_)) fail("unavailable", ZSTD_getErrorName(length_));
  }

  napi_value result(napi_env env) override {
    return numberValue(env, static_cast<double>(length_));
  }

 private:
  const Bytes input_;
  const Bytes output_;
  const int level_;
  const Bytes prefix_;
  size_t length_ = 0;
};

}  // namespace

napi_value zstdCompress(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const Bytes input = arguments.bytes(0);
  const Bytes output = arguments.bytes(1);
  const int64_t level = arguments.integer(2);
  const Bytes prefix = arguments.bytes(3);
  if (arguments.failed()) return nullptr;
  return start(env, std::make_unique<Compress>(input, output, static_cast<int>(level), prefix),
               {arguments.value(0), arguments.value(1), arguments.value(3)});
}

napi_value zstdCompressNow(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const Bytes input = arguments.bytes(0);
  const Bytes output = arguments.bytes(1);
  const int64_t level = arguments.integer(2);
  if (arguments.failed()) return nullptr;
  Compress work(input, output, static_cast<int>(level), {});
  return runNow(env, work);
}

napi_value zstdCompressBound(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const int64_t length = arguments.integer(0);
  if (arguments.failed()) return nullptr;
  return numberValue(env, static_cast<double>(ZSTD_compressBound(static_cast<size_t>(length))));
}

}  // namespace thinfs
