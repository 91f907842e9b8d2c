#include "layer-pool.h"

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace thinfs {

// One environment (a JavaScript thread), for as long as it lives.
struct LayerPoolUser {
  napi_threadsafe_function deliver = nullptr;
  size_t pending = 0;  // works that were started and not delivered; of the environment's own thread
  size_t running = 0;  // works on a thread of the pool, under its lock
};

namespace {

class LayerPool {
 public:
  // Never destroyed: its threads go on while the process exits.
  static LayerPool& instance() {
    static LayerPool* const pool = new LayerPool();
    return *pool;
  }

  // False if there is no thread to be had.
  bool add(LayerPoolUser* user, Work* work) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (idle_ <= queue_.size() && threads_ < threadsMax_ && startThread()) threads_++;
    if (threads_ == 0) return false;
    queue_.push_back({user, work});
    wanted_.notify_one();
    return true;
  }

  // Ends what the user has begun, before its memory goes. What was queued is not run.
  void leave(LayerPoolUser* user) {
    std::vector<std::unique_ptr<Work>> dropped;
    std::unique_lock<std::mutex> lock(mutex_);
    std::deque<Job> others;
    for (const Job& job : queue_) {
      if (job.user == user) dropped.emplace_back(job.work);
      else others.push_back(job);
    }
    queue_.swap(others);
    ended_.wait(lock, [user] { return user->running == 0; });
  }

 private:
  struct Job {
    LayerPoolUser* user;
    Work* work;
  };

  LayerPool() : threadsMax_(std::max(2u, std::thread::hardware_concurrency()) + 1) {}

  bool startThread() {
    pthread_t thread;
    const auto run = [](void* pool) -> void* {
      static_cast<LayerPool*>(pool)->serve();
      return nullptr;
    };
    if (pthread_create(&thread, nullptr, run, this) != 0) return false;
    pthread_detach(thread);
    return true;
  }

  void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      idle_++;
      wanted_.wait(lock, [this] { return !queue_.empty(); });
      idle_--;
      const Job job = queue_.front();
      queue_.pop_front();
      job.user->running++;
      lock.unlock();
      job.work->run();
      // The user waits for us, if it is leaving: its function is there. It takes the work, in any case.
      napi_call_threadsafe_function(job.user->deliver, job.work, napi_tsfn_nonblocking);
      lock.lock();
      if (--job.user->running == 0) ended_.notify_all();
    }
  }

  const size_t threadsMax_;
  std::mutex mutex_;
  std::condition_variable wanted_;
  std::condition_variable ended_;
  std::deque<Job> queue_;
  size_t threads_ = 0;
  size_t idle_ = 0;
};

// On the environment's thread; without an environment if that is being torn down.
void deliver(napi_env env, napi_value, void* context, void* data) {
  std::unique_ptr<Work> work(static_cast<Work*>(data));
  if (env == nullptr) return;
  auto* user = static_cast<LayerPoolUser*>(context);
  if (--user->pending == 0) napi_unref_threadsafe_function(env, user->deliver);
  work->settle(env);
}

void leave(void* data) { LayerPool::instance().leave(static_cast<LayerPoolUser*>(data)); }

void forget(napi_env, void* data, void*) { delete static_cast<LayerPoolUser*>(data); }

// The environment's own, made at its first call.
LayerPoolUser* userOf(napi_env env) {
  void* found = nullptr;
  napi_get_instance_data(env, &found);
  if (found != nullptr) return static_cast<LayerPoolUser*>(found);
  auto user = std::make_unique<LayerPoolUser>();
  napi_value name;
  napi_create_string_utf8(env, "thinfs", NAPI_AUTO_LENGTH, &name);
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr,
                                      user.get(), deliver, &user->deliver) != napi_ok) {
    return nullptr;
  }
  napi_unref_threadsafe_function(env, user->deliver);  // it keeps nobody waiting but for works
  // Hooks run from the last to the first: before the function's own.
  napi_add_env_cleanup_hook(env, leave, user.get());
  napi_set_instance_data(env, user.get(), forget, nullptr);
  return user.release();
}

}  // namespace

napi_value startOnLayerPool(napi_env env, std::unique_ptr<Work> work,
                            std::initializer_list<napi_value> kept) {
  LayerPoolUser* const user = userOf(env);
  napi_value promise = nullptr;
  if (user == nullptr || !work->promise(env, kept, &promise) ||
      !LayerPool::instance().add(user, work.get())) {
    napi_throw_error(env, "unavailable", "work cannot be queued");
    return nullptr;
  }
  work.release();
  if (user->pending++ == 0) napi_ref_threadsafe_function(env, user->deliver);
  return promise;
}

}  // namespace thinfs
