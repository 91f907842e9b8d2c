// copyVerified(source, incoming, target, digest, size, wanted, offset): Promise<outcome>. Puts `source`, which is
// to have `size` bytes of that SHA-256, at `target` by way of `incoming`, and what it has from `offset` on into `wanted`.
#include <fcntl.h>
#include <openssl/sha.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "arguments.h"
#include "descriptor.h"
#include "file-store.h"
#include "operations.h"
#include "work.h"

namespace thinfs {
namespace {

// copy-verified.ts has the same numbers. notKept: the bytes are right, and could not be written.
enum Outcome { absent = 0, wrong = 1, copied = 2, there = 3, notKept = 4 };

// As every file of a tier.
constexpr mode_t fileMode = 0644;

// Each thread's own: memory that is new for each file costs more than hashing it.
constexpr size_t stepBytes = 256 * 1024;
thread_local std::unique_ptr<uint8_t[]> ownStep;

// A file on its way, which is gone again unless it is placed. What fails is told in the end.
class Incoming {
 public:
  explicit Incoming(const char* path) : path_(path), file_(open(path, flags, fileMode)) {
    works_ = isThere_ = !file_.failed();
  }
  Incoming(const Incoming&) = delete;
  Incoming& operator=(const Incoming&) = delete;
  ~Incoming() {
    if (isThere_) unlink(path_);
  }

  void write(const uint8_t* bytes, size_t length) {
    if (works_) works_ = writeAll(file_.number(), bytes, length).error == 0;
  }

  bool place(const char* target) {
    if (file_.failed()) return false;
    const bool closed = close(file_.release()) == 0;
    if (!works_ || !closed || rename(path_, target) != 0) return false;
    isThere_ = false;
    return true;
  }

 private:
  static constexpr int flags = O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC;

  const char* const path_;
  Descriptor file_;
  bool works_ = false;
  bool isThere_ = false;
};

class CopyVerified final : public Work {
 public:
  CopyVerified(std::string source, std::string incoming, std::string target, std::string digest,
               size_t size, Bytes wanted, size_t offset)
      : source_(std::move(source)),
        incoming_(std::move(incoming)),
        target_(std::move(target)),
        digest_(std::move(digest)),
        size_(size),
        wanted_(wanted),
        offset_(offset) {}

  void run() override {
    if (access(target_.c_str(), F_OK) == 0) {
      outcome_ = there;
      return;
    }
    // What stands there may be a FIFO, which nobody ever writes to.
    const Descriptor file(open(source_.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (file.failed() && errno == ENOENT) return;
    if (file.failed() && errno != ELOOP && errno != ENXIO) return failSystem("open", errno);
    outcome_ = wrong;
    if (file.failed()) return;  // a link, or a socket
    struct stat found;
    if (fstat(file.number(), &found) != 0) return failSystem("fstat", errno);
    if (!S_ISREG(found.st_mode) || found.st_size != static_cast<off_t>(size_)) return;
    if (!ownStep) ownStep.reset(new uint8_t[stepBytes]);
    uint8_t* const step = ownStep.get();
    Incoming kept(incoming_.c_str());
    SHA256_CTX hash;
    SHA256_Init(&hash);
    for (size_t at = 0; at < size_;) {
      const ssize_t count = read(file.number(), step, std::min(stepBytes, size_ - at));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return failSystem("read", errno);
      if (count == 0) return;
      const size_t length = static_cast<size_t>(count);
      SHA256_Update(&hash, step, length);
      kept.write(step, length);
      hand(step, at, length);
      at += length;
    }
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256_Final(digest, &hash);
    if (memcmp(digest, digest_.data(), sizeof digest) != 0) return;
    outcome_ = kept.place(target_.c_str()) ? copied : notKept;
  }

  napi_value result(napi_env env) override { return numberValue(env, outcome_); }

 private:
  // What of `bytes`, which stand at `at`, is wanted.
  void hand(const uint8_t* bytes, size_t at, size_t length) const {
    const size_t first = std::max(at, offset_);
    const size_t end = std::min(at + length, offset_ + wanted_.length);
    if (first < end) memcpy(wanted_.data + (first - offset_), bytes + (first - at), end - first);
  }

  const std::string source_;
  const std::string incoming_;
  const std::string target_;
  const std::string digest_;
  const size_t size_;
  const Bytes wanted_;
  const size_t offset_;
  Outcome outcome_ = absent;
};

}  // namespace

napi_value copyVerified(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  std::string source = arguments.text(0);
  std::string incoming = arguments.text(1);
  std::string target = arguments.text(2);
  const Bytes digest = arguments.bytes(3);
  const int64_t size = arguments.integer(4);
  const Bytes wanted = arguments.bytes(5);
  const int64_t offset = arguments.integer(6);
  if (arguments.failed()) return nullptr;
  if (digest.length != SHA256_DIGEST_LENGTH || size < 0 || offset < 0) {
    napi_throw_range_error(env, "invalid", "wanted a SHA-256, and a size and offset from 0 on");
    return nullptr;
  }
  std::string content(reinterpret_cast<const char*>(digest.data), digest.length);
  return start(env,
               std::make_unique<CopyVerified>(std::move(source), std::move(incoming),
                                              std::move(target), std::move(content),
                                              static_cast<size_t>(size), wanted,
                                              static_cast<size_t>(offset)),
               {arguments.value(5)});
}

}  // namespace thinfs
