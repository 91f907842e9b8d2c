// spoolOpen(store): handle; spoolWrite(spool, hole, bytes): Promise<undefined>, `hole` zeros and then
// the bytes; spoolCommit(spool, record): Promise<undefined>.
// A file that is too large to be held in memory: hashed while it is written, named at its end.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include "file-store.h"
#include "layer-pool.h"
#include "operations.h"

namespace thinfs {
namespace {

constexpr size_t zerosLength = 64 * 1024;
const uint8_t zeros[zerosLength] = {};
// The disk is told to begin after so many bytes, so that it works while more arrive; not with a file
// that is likely to be here: it is dropped at its end, and most often never written.
constexpr int64_t writebackBytes = 8 * 1024 * 1024;

struct Spool final : State {
  static const char tag;
  explicit Spool(std::shared_ptr<FileStore> store) : State(&tag), store(std::move(store)) {
    SHA256_Init(&context);
  }
  ~Spool() override { store->discard(&file); }

  Failure append(uint64_t hole, Bytes bytes) {
    if (file.fd < 0) {
      const Failure failure = store->create(&file);
      if (failure.error != 0) return failure;
    }
    for (uint64_t left = hole; left > 0;) {
      const size_t part = std::min<uint64_t>(left, zerosLength);
      SHA256_Update(&context, zeros, part);
      left -= part;
    }
    size += static_cast<int64_t>(hole);
    if (hole > 0 && lseek(file.fd, size, SEEK_SET) < 0) return {"lseek", errno};
    SHA256_Update(&context, bytes.data, bytes.length);
    size += static_cast<int64_t>(bytes.length);
    const Failure failure = writeAll(file.fd, bytes.data, bytes.length);
    if (failure.error == 0) beginWriteback();
    return failure;
  }

  Failure commit(StoredRecord* record) {
    SHA256_Final(record->digest, &context);
    struct stat found;
    if (ftruncate(file.fd, size) != 0) return {"ftruncate", errno};  // a hole at the end
    if (fstat(file.fd, &found) != 0) return {"fstat", errno};
    record->allocated = static_cast<double>(found.st_blocks) * 512;
    return store->name(&file, record);
  }

  void beginWriteback() {
    if (size - begun < writebackBytes || store->expectsHere()) return;
    sync_file_range(file.fd, begun, size - begun, SYNC_FILE_RANGE_WRITE);  // a hint, nothing more
    begun = size;
  }

  const std::shared_ptr<FileStore> store;
  std::atomic<bool> busy{false};
  SHA256_CTX context;
  Unnamed file;
  int64_t size = 0;
  int64_t begun = 0;
};

const char Spool::tag = 0;

class SpoolWork : public Work {
 public:
  explicit SpoolWork(std::shared_ptr<Spool> spool) : spool_(std::move(spool)) {}
  ~SpoolWork() override { spool_->busy = false; }

  void run() override {
    const Failure failure = step();
    if (failure.error != 0) failSystem(failure.call, failure.error);
  }

  napi_value result(napi_env env) override { return undefinedValue(env); }

 protected:
  virtual Failure step() = 0;
  const std::shared_ptr<Spool> spool_;
};

class SpoolWrite final : public SpoolWork {
 public:
  SpoolWrite(std::shared_ptr<Spool> spool, uint64_t hole, Bytes bytes)
      : SpoolWork(std::move(spool)), hole_(hole), bytes_(bytes) {}

 protected:
  Failure step() override { return spool_->append(hole_, bytes_); }

 private:
  const uint64_t hole_;
  const Bytes bytes_;
};

class SpoolCommit final : public SpoolWork {
 public:
  SpoolCommit(std::shared_ptr<Spool> spool, Bytes record)
      : SpoolWork(std::move(spool)), record_(reinterpret_cast<StoredRecord*>(record.data)) {}

 protected:
  Failure step() override { return spool_->commit(record_); }

 private:
  StoredRecord* const record_;
};

// Two calls at once would be a data race.
bool take(napi_env env, Spool* spool) {
  if (!spool->busy.exchange(true)) return true;
  napi_throw_error(env, "invalid", "the spool is busy with another call");
  return false;
}

}  // namespace

napi_value spoolOpen(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto store = arguments.state<FileStore>(0);
  if (arguments.failed()) return nullptr;
  return stateValue(env, std::make_shared<Spool>(std::move(store)));
}

napi_value spoolWrite(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto spool = arguments.state<Spool>(0);
  const int64_t hole = arguments.integer(1);
  const Bytes bytes = arguments.bytes(2);
  if (arguments.failed() || !take(env, spool.get())) return nullptr;
  return startOnLayerPool(env,
               std::make_unique<SpoolWrite>(std::move(spool), static_cast<uint64_t>(hole), bytes),
               {arguments.value(2)});
}

napi_value spoolCommit(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto spool = arguments.state<Spool>(0);
  const Bytes record = arguments.bytes(1);
  if (arguments.failed() || !take(env, spool.get())) return nullptr;
  if (record.length < sizeof(StoredRecord) || spool->file.fd < 0) {
    spool->busy = false;
    napi_throw_range_error(env, "invalid", "wanted a record, and a file that was written");
    return nullptr;
  }
  return startOnLayerPool(env, std::make_unique<SpoolCommit>(std::move(spool), record), {arguments.value(1)});
}

}  // namespace thinfs
