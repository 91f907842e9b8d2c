// syncFileSystem(path): Promise<void>, syncfs(2) of the file system that holds `path`.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include "arguments.h"
#include "descriptor.h"
#include "operations.h"
#include "work.h"

namespace thinfs {
namespace {

class SyncFileSystem final : public Work {
 public:
  explicit SyncFileSystem(std::string path) : path_(std::move(path)) {}

  void run() override {
    const Descriptor opened(open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (opened.failed()) return failSystem("open", errno);
    if (syncfs(opened.number()) != 0) failSystem("syncfs", errno);
  }

  napi_value result(napi_env env) override { return undefinedValue(env); }

 private:
  const std::string path_;
};

}  // namespace

napi_value syncFileSystem(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  std::string path = arguments.text(0);
  if (arguments.failed()) return nullptr;
  return start(env, std::make_unique<SyncFileSystem>(std::move(path)), {});
}

}  // namespace thinfs
