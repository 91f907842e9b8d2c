// socketPair(): [fd, fd]; receiveFd(socket, timeoutMs): Promise<fd>.
// What fusermount needs: it sends the descriptor of /dev/fuse over a socket that it inherits.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "arguments.h"
#include "operations.h"
#include "work.h"

namespace thinfs {
namespace {

class ReceiveFd final : public Work {
 public:
  ReceiveFd(int socket, int timeoutMs) : socket_(socket), timeoutMs_(timeoutMs) {}

  // The descriptor is JavaScript's once result() handed it over.
  ~ReceiveFd() override {
    if (received_ >= 0) close(received_);
  }

  void run() override {
    pollfd waiting{socket_, POLLIN, 0};
    int ready;
    do {
      ready = poll(&waiting, 1, timeoutMs_);
    } while (ready < 0 && errno == EINTR);
    if (ready < 0) return failSystem("poll", errno);
    if (ready == 0) return fail("unavailable", "nothing was sent in time");
    receive();
  }

  napi_value result(napi_env env) override {
    return numberValue(env, std::exchange(received_, -1));
  }

 private:
  void receive() {
    char byte = 0;
    iovec data{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t length = recvmsg(socket_, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (length < 0) return failSystem("recvmsg", errno);
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
        header->cmsg_len != CMSG_LEN(sizeof(int))) {
      return fail("unavailable", length == 0 ? "the sender closed without sending one"
                                             : "the message carries no descriptor");
    }
    std::memcpy(&received_, CMSG_DATA(header), sizeof received_);
  }

  const int socket_;
  const int timeoutMs_;
  int received_ = -1;
};

}  // namespace

napi_value socketPair(napi_env env, napi_callback_info) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    napi_throw_error(env, "unavailable", strerror(errno));
    return nullptr;
  }
  napi_value list;
  napi_create_array_with_length(env, 2, &list);
  napi_set_element(env, list, 0, numberValue(env, ends[0]));
  napi_set_element(env, list, 1, numberValue(env, ends[1]));
  return list;
}

napi_value receiveFd(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const int64_t socket = arguments.integer(0);
  const int64_t timeoutMs = arguments.integer(1);
  if (arguments.failed()) return nullptr;
  return start(
      env, std::make_unique<ReceiveFd>(static_cast<int>(socket), static_cast<int>(timeoutMs)), {});
}

}  // namespace thinfs
