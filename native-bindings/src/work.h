// One asynchronous call: what runs on a pool thread, and how its outcome reaches JavaScript.
#pragma once

#include <node_api.h>

#include <initializer_list>
#include <memory>
#include <string>

namespace thinfs {

// An operation derives from Work. run() is on a thread of the libuv pool and must not touch
// JavaScript; result() is on the thread of the environment, after run() has ended without fail().
class Work {
 public:
  Work() = default;
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  virtual ~Work() = default;

  virtual void run() = 0;
  virtual napi_value result(napi_env env) = 0;

  // Makes the promise of this work, and keeps values alive until it is settled. False if that fails.
  bool promise(napi_env env, std::initializer_list<napi_value> kept, napi_value* promise);
  // On the thread of the environment, when run() has ended.
  void settle(napi_env env);

 protected:
  // Rejects the promise with an Error that has `code`, one of ThinError's codes.
  void fail(const char* code, std::string message);
  // The same for a system call that failed: the Error has `errno` in place of `code`. `reason` is
  // what else is known of it.
  void failSystem(const std::string& call, int error, const std::string& reason = "");

 private:
  friend napi_value start(napi_env, std::unique_ptr<Work>, std::initializer_list<napi_value>);
  friend napi_value runNow(napi_env, Work&);
  static void execute(napi_env env, void* data);
  static void complete(napi_env env, napi_status status, void* data);
  napi_value error(napi_env env) const;

  napi_deferred deferred_ = nullptr;
  napi_async_work handle_ = nullptr;
  napi_ref kept_ = nullptr;
  bool failed_ = false;
  const char* code_ = nullptr;
  int errno_ = 0;
  std::string message_;
};

// Queues `work` for libuv's pool and returns its promise. The values in `kept` (buffers that run() reads or writes,
// handles) stay alive until it has ended, also while a worker thread's environment is torn down:
// Node waits for queued work before it frees an environment's heap.
napi_value start(napi_env env, std::unique_ptr<Work> work, std::initializer_list<napi_value> kept);

// Runs `work` on this thread, which it blocks; throws what start() would reject with.
napi_value runNow(napi_env env, Work& work);

napi_value undefinedValue(napi_env env);
napi_value numberValue(napi_env env, double number);

}  // namespace thinfs
