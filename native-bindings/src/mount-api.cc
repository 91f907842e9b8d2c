// mountWithSettings(type, settings, attributes, target): Promise<void>;
// reconfigureMount(target, settings): Promise<void>.
// The mount API of Linux 5.2: layers by descriptor, and the kernel says what it objects to. By
// number of the system calls, so that one build fits C libraries older than these calls.
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "arguments.h"
#include "descriptor.h"
#include "operations.h"
#include "work.h"

namespace thinfs {
namespace {

enum class Kind : char { text = 's', flag = 'f', descriptor = 'd' };

struct Setting {
  Kind kind;
  std::string key;
  std::string value;
};

// Each setting is its kind, key, NUL, value, NUL.
std::vector<Setting> parseSettings(const std::string& encoded) {
  std::vector<Setting> settings;
  for (size_t at = 0; at < encoded.size();) {
    const size_t keyEnd = encoded.find('\0', at);
    const size_t valueEnd = keyEnd == std::string::npos ? keyEnd : encoded.find('\0', keyEnd + 1);
    if (valueEnd == std::string::npos) break;
    settings.push_back({static_cast<Kind>(encoded[at]), encoded.substr(at + 1, keyEnd - at - 1),
                        encoded.substr(keyEnd + 1, valueEnd - keyEnd - 1)});
    at = valueEnd + 1;
  }
  return settings;
}

// What the kernel has to say of a context: a line for each read, "e " before errors.
std::string readLog(int context) {
  std::string said;
  char line[1024];
  for (;;) {
    const ssize_t length = read(context, line, sizeof line);
    if (length <= 0) return said;
    std::string text(line, static_cast<size_t>(length));
    while (!text.empty() && text.back() == '\n') text.pop_back();
    if (text.rfind("e ", 0) != 0) continue;
    said += (said.empty() ? "" : "; ") + text.substr(2);
  }
}

class ContextWork : public Work {
 protected:
  explicit ContextWork(const std::string& settings) : settings_(parseSettings(settings)) {}

  // Gives the settings to a context, then the command. False after a failure.
  bool configure(int context, unsigned command) {
    for (const Setting& setting : settings_) {
      if (apply(context, setting) != 0) return refused(context, "fsconfig " + setting.key);
    }
    if (fsconfig(context, command, nullptr, nullptr, 0) == 0) return true;
    return refused(context, "fsconfig");
  }

 private:
  static long fsconfig(int context, unsigned command, const char* key, const char* value,
                       int auxiliary) {
    return syscall(SYS_fsconfig, context, command, key, value, auxiliary);
  }

  static long apply(int context, const Setting& setting) {
    const char* key = setting.key.c_str();
    switch (setting.kind) {
      case Kind::text:
        return fsconfig(context, FSCONFIG_SET_STRING, key, setting.value.c_str(), 0);
      case Kind::descriptor:
        return fsconfig(context, FSCONFIG_SET_FD, key, nullptr, std::atoi(setting.value.c_str()));
      case Kind::flag:
        return fsconfig(context, FSCONFIG_SET_FLAG, key, nullptr, 0);
    }
    errno = EINVAL;
    return -1;
  }

  bool refused(int context, const std::string& call) {
    const int error = errno;
    failSystem(call, error, readLog(context));
    return false;
  }

  const std::vector<Setting> settings_;
};

class MountWithSettings final : public ContextWork {
 public:
  MountWithSettings(std::string type, const std::string& settings, unsigned attributes,
                    std::string target)
      : ContextWork(settings),
        type_(std::move(type)),
        attributes_(attributes),
        target_(std::move(target)) {}

  void run() override {
    const Descriptor context(syscall(SYS_fsopen, type_.c_str(), FSOPEN_CLOEXEC));
    if (context.failed()) return failSystem("fsopen", errno);
    if (!configure(context.number(), FSCONFIG_CMD_CREATE)) return;
    const Descriptor made(syscall(SYS_fsmount, context.number(), FSMOUNT_CLOEXEC, attributes_));
    if (made.failed()) return failSystem("fsmount", errno);
    // Nothing is left of it if this process dies before this call.
    if (syscall(SYS_move_mount, made.number(), "", AT_FDCWD, target_.c_str(),
                MOVE_MOUNT_F_EMPTY_PATH) != 0) {
      failSystem("move_mount", errno);
    }
  }

  napi_value result(napi_env env) override { return undefinedValue(env); }

 private:
  const std::string type_;
  const unsigned attributes_;
  const std::string target_;
};

class ReconfigureMount final : public ContextWork {
 public:
  ReconfigureMount(std::string target, const std::string& settings)
      : ContextWork(settings), target_(std::move(target)) {}

  void run() override {
    const unsigned flags = FSPICK_CLOEXEC | FSPICK_SYMLINK_NOFOLLOW | FSPICK_NO_AUTOMOUNT;
    const Descriptor context(syscall(SYS_fspick, AT_FDCWD, target_.c_str(), flags));
    if (context.failed()) return failSystem("fspick", errno);
    configure(context.number(), FSCONFIG_CMD_RECONFIGURE);
  }

  napi_value result(napi_env env) override { return undefinedValue(env); }

 private:
  const std::string target_;
};

}  // namespace

napi_value mountWithSettings(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  std::string type = arguments.text(0);
  const std::string settings = arguments.text(1);
  const int64_t attributes = arguments.integer(2);
  std::string target = arguments.text(3);
  if (arguments.failed()) return nullptr;
  return start(env,
               std::make_unique<MountWithSettings>(std::move(type), settings,
                                                   static_cast<unsigned>(attributes),
                                                   std::move(target)),
               {});
}

napi_value reconfigureMount(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  std::string target = arguments.text(0);
  const std::string settings = arguments.text(1);
  if (arguments.failed()) return nullptr;
  return start(env, std::make_unique<ReconfigureMount>(std::move(target), settings), {});
}

}  // namespace thinfs
