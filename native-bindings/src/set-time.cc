// setTime(path, seconds, nanoseconds): Promise<void>, last access and change of `path` itself.
// Node's own call is no more exact than microseconds.
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include "arguments.h"
#include "operations.h"
#include "work.h"

namespace thinfs {
namespace {

class SetTime final : public Work {
 public:
  SetTime(std::string path, int64_t seconds, int64_t nanoseconds)
      : path_(std::move(path)), seconds_(seconds), nanoseconds_(nanoseconds) {}

  void run() override {
    timespec time{};
    time.tv_sec = static_cast<time_t>(seconds_);
    time.tv_nsec = static_cast<long>(nanoseconds_);
    const timespec times[2] = {time, time};
    if (utimensat(AT_FDCWD, path_.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
      failSystem("utimensat", errno);
    }
  }

  napi_value result(napi_env env) override { return undefinedValue(env); }

 private:
  const std::string path_;
  const int64_t seconds_, nanoseconds_;
};

}  // namespace

napi_value setTime(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  std::string path = arguments.text(0);
  const int64_t seconds = arguments.integer(1);
  const int64_t nanoseconds = arguments.integer(2);
  if (arguments.failed()) return nullptr;
  return start(env, std::make_unique<SetTime>(std::move(path), seconds, nanoseconds), {});
}

}  // namespace thinfs
