#include "work.h"

#include <cstring>
#include <utility>

namespace thinfs {

void Work::fail(const char* code, std::string message) {
  failed_ = true;
  code_ = code;
  message_ = std::move(message);
}

void Work::failSystem(const std::string& call, int error, const std::string& reason) {
  failed_ = true;
  errno_ = error;
  char text[128] = "";
  const std::string what = call + ": " + strerror_r(error, text, sizeof text);
  message_ = reason.empty() ? what : reason + " (" + what + ")";
}

napi_value Work::error(napi_env env) const {
  napi_value message, error, property;
  napi_create_string_utf8(env, message_.data(), message_.size(), &message);
  napi_create_error(env, nullptr, message, &error);
  if (code_ != nullptr) {
    napi_create_string_utf8(env, code_, NAPI_AUTO_LENGTH, &property);
    napi_set_named_property(env, error, "code", property);
  } else {
    napi_create_int32(env, errno_, &property);
    napi_set_named_property(env, error, "errno", property);
  }
  return error;
}

void Work::execute(napi_env, void* data) { static_cast<Work*>(data)->run(); }

bool Work::promise(napi_env env, std::initializer_list<napi_value> kept, napi_value* promise) {
  napi_value list;
  uint32_t index = 0;
  if (napi_create_array_with_length(env, kept.size(), &list) != napi_ok) return false;
  for (napi_value value : kept) napi_set_element(env, list, index++, value);
  return napi_create_reference(env, list, 1, &kept_) == napi_ok &&
         napi_create_promise(env, &deferred_, promise) == napi_ok;
}

// An environment that is being torn down refuses calls into JavaScript: their status is of no
// interest then, what must happen is that the memory is given back.
void Work::settle(napi_env env) {
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env, &scope) == napi_ok) {
    if (failed_) {
      napi_reject_deferred(env, deferred_, error(env));
    } else {
      napi_resolve_deferred(env, deferred_, result(env));
    }
    napi_close_handle_scope(env, scope);
  }
  napi_delete_reference(env, kept_);
}

void Work::complete(napi_env env, napi_status status, void* data) {
  std::unique_ptr<Work> work(static_cast<Work*>(data));
  if (status != napi_ok) work->fail("canceled", "the environment ended");
  work->settle(env);
  napi_delete_async_work(env, work->handle_);
}

napi_value start(napi_env env, std::unique_ptr<Work> work,
                 std::initializer_list<napi_value> kept) {
  napi_value promise, name;
  napi_create_string_utf8(env, "thinfs", NAPI_AUTO_LENGTH, &name);
  if (napi_create_async_work(env, nullptr, name, Work::execute, Work::complete, work.get(),
                             &work->handle_) != napi_ok ||
      !work->promise(env, kept, &promise) ||
      napi_queue_async_work(env, work->handle_) != napi_ok) {
    napi_throw_error(env, "unavailable", "work cannot be queued");
    return nullptr;
  }
  work.release();
  return promise;
}

napi_value runNow(napi_env env, Work& work) {
  work.run();
  if (!work.failed_) return work.result(env);
  napi_throw(env, work.error(env));
  return nullptr;
}

napi_value undefinedValue(napi_env env) {
  napi_value value = nullptr;
  napi_get_undefined(env, &value);
  return value;
}

napi_value numberValue(napi_env env, double number) {
  napi_value value = nullptr;
  napi_create_double(env, number, &value);
  return value;
}

}  // namespace thinfs
