// copyVerified(source, incoming, target, digest, bytes): Promise<outcome>. Reads all of `source`, which is to
// have bytes.length bytes of that SHA-256, into `bytes`, and puts it at `target` by way of `incoming`.
#include <fcntl.h>
#include <openssl/sha.h>
#include <sys/stat.h>
#include <unistd.h>

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

class CopyVerified final : public Work {
 public:
  CopyVerified(std::string source, std::string incoming, std::string target, std::string digest,
               Bytes bytes)
      : source_(std::move(source)),
        incoming_(std::move(incoming)),
        target_(std::move(target)),
        digest_(std::move(digest)),
        bytes_(bytes) {}

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
    if (!S_ISREG(found.st_mode) || found.st_size != static_cast<off_t>(bytes_.length)) return;
    for (size_t at = 0; at < bytes_.length;) {
      const ssize_t count = read(file.number(), bytes_.data + at, bytes_.length - at);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return failSystem("read", errno);
      if (count == 0) return;
      at += static_cast<size_t>(count);
    }
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256(bytes_.data, bytes_.length, digest);
    if (memcmp(digest, digest_.data(), sizeof digest) != 0) return;
    outcome_ = keep() ? copied : notKept;
  }

  napi_value result(napi_env env) override { return numberValue(env, outcome_); }

 private:
  bool keep() const {
    constexpr int flags = O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC;
    Descriptor file(open(incoming_.c_str(), flags, fileMode));
    if (file.failed()) return false;
    const bool written = writeAll(file.number(), bytes_.data, bytes_.length).error == 0;
    const bool closed = close(file.release()) == 0;
    if (written && closed && rename(incoming_.c_str(), target_.c_str()) == 0) return true;
    unlink(incoming_.c_str());
    return false;
  }

  const std::string source_;
  const std::string incoming_;
  const std::string target_;
  const std::string digest_;
  const Bytes bytes_;
  Outcome outcome_ = absent;
};

}  // namespace

napi_value copyVerified(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  std::string source = arguments.text(0);
  std::string incoming = arguments.text(1);
  std::string target = arguments.text(2);
  const Bytes digest = arguments.bytes(3);
  const Bytes bytes = arguments.bytes(4);
  if (arguments.failed()) return nullptr;
  if (digest.length != SHA256_DIGEST_LENGTH) {
    napi_throw_range_error(env, "invalid", "wanted a SHA-256");
    return nullptr;
  }
  std::string wanted(reinterpret_cast<const char*>(digest.data), digest.length);
  return start(env,
               std::make_unique<CopyVerified>(std::move(source), std::move(incoming),
                                              std::move(target), std::move(wanted), bytes),
               {arguments.value(4)});
}

}  // namespace thinfs
