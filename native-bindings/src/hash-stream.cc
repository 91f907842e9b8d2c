// hashOpen(): handle; hashUpdate(handle, bytes): Promise<undefined>; hashDigest(handle, digest), the
// SHA-256 of all bytes that were given, which ends it.
#include <openssl/sha.h>

#include <atomic>
#include <utility>

#include "arguments.h"
#include "layer-pool.h"
#include "operations.h"

namespace thinfs {
namespace {

// `busy` is set while an update runs: two at once would be a data race.
struct HashStream final : State {
  static const char tag;
  HashStream() : State(&tag) { SHA256_Init(&context); }

  std::atomic<bool> busy{false};
  SHA256_CTX context;
};

const char HashStream::tag = 0;

class Update final : public Work {
 public:
  Update(std::shared_ptr<HashStream> stream, Bytes bytes)
      : stream_(std::move(stream)), bytes_(bytes) {}
  ~Update() override { stream_->busy = false; }

  void run() override { SHA256_Update(&stream_->context, bytes_.data, bytes_.length); }

  napi_value result(napi_env env) override { return undefinedValue(env); }

 private:
  const std::shared_ptr<HashStream> stream_;
  const Bytes bytes_;
};

// Two calls at once would be a data race.
bool take(napi_env env, HashStream* stream) {
  if (!stream->busy.exchange(true)) return true;
  napi_throw_error(env, "invalid", "the hash is busy with another call");
  return false;
}

}  // namespace

napi_value hashOpen(napi_env env, napi_callback_info) {
  return stateValue(env, std::make_shared<HashStream>());
}

napi_value hashUpdate(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto stream = arguments.state<HashStream>(0);
  const Bytes bytes = arguments.bytes(1);
  if (arguments.failed() || !take(env, stream.get())) return nullptr;
  return startOnLayerPool(env, std::make_unique<Update>(std::move(stream), bytes), {arguments.value(1)});
}

napi_value hashDigest(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto stream = arguments.state<HashStream>(0);
  const Bytes digest = arguments.bytes(1);
  if (arguments.failed()) return nullptr;
  if (digest.length != SHA256_DIGEST_LENGTH) {
    napi_throw_range_error(env, "invalid", "wanted room for a SHA-256");
    return nullptr;
  }
  if (!take(env, stream.get())) return nullptr;
  SHA256_Final(digest.data, &stream->context);
  return undefinedValue(env);  // and stays busy: it is over
}

}  // namespace thinfs
