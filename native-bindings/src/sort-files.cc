// sortFiles(handle, digests, sizes, counts): Promise<undefined>; a digest of 32 bytes and a size, a double, for
// each file: brought into the order of the digests, in place, each digest once. `counts`, two doubles: how many
// are left, and how many of those are in no directory of the store.
#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "file-store.h"
#include "layer-pool.h"
#include "operations.h"

namespace thinfs {
namespace {

struct SizedFile {
  uint8_t digest[SHA256_DIGEST_LENGTH];
  double size;
};

int compare(const SizedFile& one, const SizedFile& other) {
  return memcmp(one.digest, other.digest, SHA256_DIGEST_LENGTH);
}

class SortFiles final : public Work {
 public:
  SortFiles(std::shared_ptr<FileStore> store, Bytes digests, Bytes sizes, Bytes counts)
      : store_(std::move(store)), digests_(digests.data), sizes_(sizes), counts_(counts.data) {}

  void run() override {
    std::vector<SizedFile> files = read();
    std::sort(files.begin(), files.end(), [](const SizedFile& one, const SizedFile& other) {
      return compare(one, other) < 0;
    });
    const auto end = std::unique(files.begin(), files.end(), [](const SizedFile& one, const SizedFile& other) {
      return compare(one, other) == 0;
    });
    files.erase(end, files.end());
    write(files);
    const auto missing = std::count_if(files.begin(), files.end(),
                                       [this](const SizedFile& file) { return !store_->has(file.digest); });
    const double counts[2] = {static_cast<double>(files.size()), static_cast<double>(missing)};
    memcpy(counts_, counts, sizeof(counts));
  }

  napi_value result(napi_env env) override { return undefinedValue(env); }

 private:
  std::vector<SizedFile> read() const {
    std::vector<SizedFile> files(sizes_.length / sizeof(double));
    for (size_t at = 0; at < files.size(); at++) {
      memcpy(files[at].digest, digests_ + at * SHA256_DIGEST_LENGTH, SHA256_DIGEST_LENGTH);
      memcpy(&files[at].size, sizes_.data + at * sizeof(double), sizeof(double));
    }
    return files;
  }

  void write(const std::vector<SizedFile>& files) const {
    for (size_t at = 0; at < files.size(); at++) {
      memcpy(digests_ + at * SHA256_DIGEST_LENGTH, files[at].digest, SHA256_DIGEST_LENGTH);
      memcpy(sizes_.data + at * sizeof(double), &files[at].size, sizeof(double));
    }
  }

  const std::shared_ptr<FileStore> store_;
  uint8_t* const digests_;
  const Bytes sizes_;
  uint8_t* const counts_;
};

}  // namespace

napi_value sortFiles(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto store = arguments.state<FileStore>(0);
  const Bytes digests = arguments.bytes(1);
  const Bytes sizes = arguments.bytes(2);
  const Bytes counts = arguments.bytes(3);
  if (arguments.failed()) return nullptr;
  const size_t count = sizes.length / sizeof(double);
  if (digests.length != count * SHA256_DIGEST_LENGTH || counts.length < 2 * sizeof(double)) {
    napi_throw_range_error(env, "invalid", "wanted a size for each digest, and room for two counts");
    return nullptr;
  }
  return startOnLayerPool(env, std::make_unique<SortFiles>(std::move(store), digests, sizes, counts),
                          {arguments.value(1), arguments.value(2), arguments.value(3)});
}

}  // namespace thinfs
