#include "arguments.h"

#include <utility>

namespace thinfs {

Arguments::Arguments(napi_env env, napi_callback_info info) : env_(env) {
  size_t count = countMax;
  failed_ = napi_get_cb_info(env, info, &count, values_, nullptr, nullptr) != napi_ok;
}

void Arguments::fail(size_t index, const char* wanted) {
  if (failed_) return;
  failed_ = true;
  const std::string message = "argument " + std::to_string(index) + " is not " + wanted;
  napi_throw_type_error(env_, "invalid", message.c_str());
}

Bytes Arguments::bytes(size_t index) {
  bool isBuffer = false;
  void* data = nullptr;
  size_t length = 0;
  if (napi_is_buffer(env_, values_[index], &isBuffer) != napi_ok || !isBuffer ||
      napi_get_buffer_info(env_, values_[index], &data, &length) != napi_ok) {
    fail(index, "a Buffer");
    return {};
  }
  return {static_cast<uint8_t*>(data), length};
}

std::string Arguments::text(size_t index) {
  const Bytes from = bytes(index);
  return std::string(reinterpret_cast<const char*>(from.data), from.length);
}

int64_t Arguments::integer(size_t index) {
  int64_t number = 0;
  if (napi_get_value_int64(env_, values_[index], &number) != napi_ok) fail(index, "a number");
  return number;
}

std::shared_ptr<State> Arguments::anyState(size_t index, const void* kind) {
  void* data = nullptr;
  napi_valuetype type = napi_undefined;
  if (napi_typeof(env_, values_[index], &type) != napi_ok || type != napi_external ||
      napi_get_value_external(env_, values_[index], &data) != napi_ok) {
    fail(index, "a handle");
    return nullptr;
  }
  const auto& state = *static_cast<std::shared_ptr<State>*>(data);
  if (state->kind != kind) {
    fail(index, "a handle of this kind");
    return nullptr;
  }
  return state;
}

napi_value stateValue(napi_env env, std::shared_ptr<State> state) {
  auto* owner = new std::shared_ptr<State>(std::move(state));
  napi_value value = nullptr;
  const auto release = [](napi_env, void* data, void*) {
    delete static_cast<std::shared_ptr<State>*>(data);
  };
  if (napi_create_external(env, owner, release, nullptr, &value) != napi_ok) {
    delete owner;
    napi_throw_error(env, "unavailable", "a handle cannot be made");
    return nullptr;
  }
  return value;
}

}  // namespace thinfs
