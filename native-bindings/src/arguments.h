// The arguments of one call. The TypeScript face has validated them; what is checked again here is
// what memory safety needs: kinds and handles.
#pragma once

#include <node_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace thinfs {

// Memory of a Buffer that start() keeps alive. `data` may be null if `length` is 0.
struct Bytes {
  uint8_t* data = nullptr;
  size_t length = 0;
};

// State that lives between calls, behind a JavaScript value. Shared: a call that is running keeps it
// alive although the value was collected or closed.
struct State {
  explicit State(const void* kind) : kind(kind) {}
  virtual ~State() = default;
  const void* const kind;
};

class Arguments {
 public:
  static constexpr size_t countMax = 7;

  Arguments(napi_env env, napi_callback_info info);

  // The first wrong argument makes a JavaScript TypeError pending; the caller then returns nullptr.
  bool failed() const { return failed_; }
  napi_value value(size_t index) const { return values_[index]; }

  Bytes bytes(size_t index);
  // A NUL-terminated copy, for system calls. Empty if the value is null or undefined.
  std::string text(size_t index);
  int64_t integer(size_t index);

  template <typename T>
  std::shared_ptr<T> state(size_t index) {
    std::shared_ptr<State> found = anyState(index, &T::tag);
    return std::static_pointer_cast<T>(found);
  }

 private:
  std::shared_ptr<State> anyState(size_t index, const void* kind);
  void fail(size_t index, const char* wanted);

  napi_env env_;
  napi_value values_[countMax];
  bool failed_ = false;
};

// A JavaScript value that owns `state`.
napi_value stateValue(napi_env env, std::shared_ptr<State> state);

}  // namespace thinfs
