// listXattrs(path): Promise<Buffer>, the names, each with a NUL behind it.
// getXattr(path, name): Promise<Buffer | undefined>. setXattr(path, name, value): Promise<void>.
// None follows a symbolic link in the last component.
#include <sys/xattr.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "arguments.h"
#include "operations.h"
#include "work.h"

namespace thinfs {
namespace {

// Linux's XATTR_SIZE_MAX and XATTR_LIST_MAX.
constexpr size_t sizeMax = 65536;

// Reads the value of `name`, or the list of names if `name` is empty.
class ReadXattr final : public Work {
 public:
  ReadXattr(std::string path, std::string name)
      : path_(std::move(path)), name_(std::move(name)) {}

  void run() override {
    found_.resize(sizeMax);
    const ssize_t length =
        name_.empty() ? llistxattr(path_.c_str(), found_.data(), found_.size())
                      : lgetxattr(path_.c_str(), name_.c_str(), found_.data(), found_.size());
    if (length >= 0) {
      found_.resize(static_cast<size_t>(length));
    } else if (errno == ENODATA) {
      absent_ = true;
    } else {
      failSystem(name_.empty() ? "llistxattr" : "lgetxattr", errno);
    }
  }

  napi_value result(napi_env env) override {
    if (absent_) return undefinedValue(env);
    napi_value buffer = nullptr;
    napi_create_buffer_copy(env, found_.size(), found_.data(), nullptr, &buffer);
    return buffer;
  }

 private:
  const std::string path_;
  const std::string name_;
  std::vector<char> found_;
  bool absent_ = false;
};

class SetXattr final : public Work {
 public:
  SetXattr(std::string path, std::string name, Bytes value)
      : path_(std::move(path)), name_(std::move(name)), value_(value) {}

  void run() override {
    if (lsetxattr(path_.c_str(), name_.c_str(), value_.data, value_.length, 0) != 0) {
      failSystem("lsetxattr", errno);
    }
  }

  napi_value result(napi_env env) override { return undefinedValue(env); }

 private:
  const std::string path_;
  const std::string name_;
  const Bytes value_;
};

}  // namespace

napi_value listXattrs(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  std::string path = arguments.text(0);
  if (arguments.failed()) return nullptr;
  return start(env, std::make_unique<ReadXattr>(std::move(path), ""), {});
}

napi_value getXattr(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  std::string path = arguments.text(0);
  std::string name = arguments.text(1);
  if (arguments.failed()) return nullptr;
  return start(env, std::make_unique<ReadXattr>(std::move(path), std::move(name)), {});
}

napi_value setXattr(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  std::string path = arguments.text(0);
  std::string name = arguments.text(1);
  const Bytes value = arguments.bytes(2);
  if (arguments.failed()) return nullptr;
  return start(env, std::make_unique<SetXattr>(std::move(path), std::move(name), value),
               {arguments.value(2)});
}

}  // namespace thinfs
