// mount(source, target, type, flags, data): Promise<void>; unmount(target, flags): Promise<void>.
// On pool threads: both can wait for a file server.
#include <sys/mount.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include "arguments.h"
#include "operations.h"
#include "work.h"

namespace thinfs {
namespace {

class Mount final : public Work {
 public:
  Mount(std::string source, std::string target, std::string type, uint64_t flags, std::string data)
      : source_(std::move(source)),
        target_(std::move(target)),
        type_(std::move(type)),
        flags_(flags),
        data_(std::move(data)) {}

  void run() override {
    if (mount(source_.c_str(), target_.c_str(), type_.c_str(), flags_, data_.c_str()) != 0) {
      failSystem("mount", errno);
    }
  }

  napi_value result(napi_env env) override { return undefinedValue(env); }

 private:
  const std::string source_, target_, type_;
  const uint64_t flags_;
  const std::string data_;
};

class Unmount final : public Work {
 public:
  Unmount(std::string target, int flags) : target_(std::move(target)), flags_(flags) {}

  void run() override {
    if (umount2(target_.c_str(), flags_) != 0) failSystem("umount2", errno);
  }

  napi_value result(napi_env env) override { return undefinedValue(env); }

 private:
  const std::string target_;
  const int flags_;
};

}  // namespace

napi_value mountFileSystem(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  std::string source = arguments.text(0);
  std::string target = arguments.text(1);
  std::string type = arguments.text(2);
  const int64_t flags = arguments.integer(3);
  std::string data = arguments.text(4);
  if (arguments.failed()) return nullptr;
  return start(env,
               std::make_unique<Mount>(std::move(source), std::move(target), std::move(type),
                                       static_cast<uint64_t>(flags), std::move(data)),
               {});
}

napi_value unmountFileSystem(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  std::string target = arguments.text(0);
  const int64_t flags = arguments.integer(1);
  if (arguments.failed()) return nullptr;
  return start(env, std::make_unique<Unmount>(std::move(target), static_cast<int>(flags)), {});
}

}  // namespace thinfs
