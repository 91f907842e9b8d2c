// attachLoop(path, blockSize, directIo): Promise<[fd, number]>, of /dev/loop<number>.
// Read-only, and detached by the kernel when the descriptor and the last mount of it are gone:
// nothing is left behind by a process that dies.
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

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

// Others may take the device that the kernel named as free; so many in a row do not.
constexpr int attemptsMax = 64;

class AttachLoop final : public Work {
 public:
  AttachLoop(std::string path, uint32_t blockSize, bool directIo)
      : path_(std::move(path)), blockSize_(blockSize), directIo_(directIo) {}

  void run() override {
    const Descriptor backing(open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    if (backing.failed()) return failSystem("open", errno);
    const Descriptor control(open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    if (control.failed()) return failSystem("open /dev/loop-control", errno);
    for (int attempt = 0; attempt < attemptsMax; attempt++) {
      number_ = ioctl(control.number(), LOOP_CTL_GET_FREE);
      if (number_ < 0) return failSystem("LOOP_CTL_GET_FREE", errno);
      if (attach(backing.number())) return;
    }
    fail("busy", "other processes take every loop device first");
  }

  napi_value result(napi_env env) override {
    napi_value pair;
    napi_create_array_with_length(env, 2, &pair);
    napi_set_element(env, pair, 0, numberValue(env, device_.release()));
    napi_set_element(env, pair, 1, numberValue(env, number_));
    return pair;
  }

 private:
  // False if another process was faster; true if there is an outcome.
  bool attach(int backing) {
    const std::string name = "/dev/loop" + std::to_string(number_);
    Descriptor device(open(name.c_str(), O_RDONLY | O_CLOEXEC));
    if (device.failed()) {
      if (errno == ENXIO) return false;
      failSystem("open " + name, errno);
      return true;
    }
    loop_config config{};
    config.fd = static_cast<uint32_t>(backing);
    config.block_size = blockSize_;
    config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
    if (directIo_) config.info.lo_flags |= LO_FLAGS_DIRECT_IO;
    if (ioctl(device.number(), LOOP_CONFIGURE, &config) != 0) {
      if (errno == EBUSY || errno == ENXIO) return false;
      failSystem("LOOP_CONFIGURE", errno);
      return true;
    }
    device_.reset(device.release());
    return true;
  }

  const std::string path_;
  const uint32_t blockSize_;
  const bool directIo_;
  int number_ = -1;
  // JavaScript's once result() handed it over.
  Descriptor device_{-1};
};

}  // namespace

napi_value attachLoop(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  std::string path = arguments.text(0);
  const int64_t blockSize = arguments.integer(1);
  const int64_t directIo = arguments.integer(2);
  if (arguments.failed()) return nullptr;
  return start(env,
               std::make_unique<AttachLoop>(std::move(path), static_cast<uint32_t>(blockSize),
                                            directIo != 0),
               {});
}

}  // namespace thinfs
