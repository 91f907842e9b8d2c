// zstdDecompress(input, output, prefix): Promise<void>. The input is exactly one frame, which fills
// output; the bytes before it are those of prefix, if that is not empty.
// zstdDecompressNow(input, output): the same without a prefix, on this thread.
#include <zstd.h>

#include <memory>
#include <string>

#include "arguments.h"
#include "operations.h"
#include "work.h"

namespace thinfs {
namespace {

struct FreeContext {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

ZSTD_DCtx* threadContext() {
  thread_local std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
  return context.get();
}

class Decompress final : public Work {
 public:
  Decompress(Bytes input, Bytes output, Bytes prefix)
      : input_(input), output_(output), prefix_(prefix) {}

  void run() override {
    ZSTD_DCtx* context = threadContext();
    if (context == nullptr) return fail("unavailable", "no memory for zstd");
    const size_t used = ZSTD_findFrameCompressedSize(input_.data, input_.length);
    if (ZSTD_isError(used)) return fail("corrupt", ZSTD_getErrorName(used));
    if (used != input_.length) {
      return fail("corrupt", std::to_string(input_.length - used) + " bytes follow the frame");
    }
    // Raw content: nothing in it is read as a dictionary.
    if (prefix_.length > 0 &&
        ZSTD_isError(ZSTD_DCtx_refPrefix(context, prefix_.data, prefix_.length))) {
      return fail("unavailable", "no memory for zstd");
    }
    const size_t plain = ZSTD_decompressDCtx(context, output_.data, output_.length, input_.data,
                                             input_.length);
    // The context is another frame's next, and the prefix is gone then.
    if (prefix_.length > 0) ZSTD_DCtx_reset(context, ZSTD_reset_session_and_parameters);
    if (ZSTD_isError(plain)) return fail("corrupt", ZSTD_getErrorName(plain));
    if (plain != output_.length) {
      fail("corrupt", "the frame has " + std::to_string(plain) + " plain bytes (wanted " +
                          std::to_string(output_.length) + ")");
    }
  }

  napi_value result(napi_env env) override { return undefinedValue(env); }

 private:
  const Bytes input_;
  const Bytes output_;
  const Bytes prefix_;
};

}  // namespace

napi_value zstdDecompress(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const Bytes input = arguments.bytes(0);
  const Bytes output = arguments.bytes(1);
  const Bytes prefix = arguments.bytes(2);
  if (arguments.failed()) return nullptr;
  return start(env, std::make_unique<Decompress>(input, output, prefix),
               {arguments.value(0), arguments.value(1), arguments.value(2)});
}

napi_value zstdDecompressNow(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const Bytes input = arguments.bytes(0);
  const Bytes output = arguments.bytes(1);
  if (arguments.failed()) return nullptr;
  Decompress work(input, output, {});
  return runNow(env, work);
}

}  // namespace thinfs
