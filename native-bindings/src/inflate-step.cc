#include "inflate-step.h"

#include <utility>

#include "layer-pool.h"

namespace thinfs {
namespace {

class Step final : public Work {
 public:
  Step(std::shared_ptr<Inflater> inflater, Bytes input, Bytes output)
      : inflater_(std::move(inflater)), input_(input), output_(output) {}
  ~Step() override { inflater_->busy = false; }

  void run() override {
    outcome_ = inflater_->step(input_, output_);
    complete_ = inflater_->complete();
    if (outcome_.problem != nullptr) fail("corrupt", outcome_.problem);
  }

  napi_value result(napi_env env) override {
    napi_value list, complete;
    napi_create_array_with_length(env, 3, &list);
    napi_get_boolean(env, complete_, &complete);
    napi_set_element(env, list, 0, numberValue(env, static_cast<double>(outcome_.consumed)));
    napi_set_element(env, list, 1, numberValue(env, static_cast<double>(outcome_.produced)));
    napi_set_element(env, list, 2, complete);
    return list;
  }

 private:
  const std::shared_ptr<Inflater> inflater_;
  const Bytes input_;
  const Bytes output_;
  Inflater::Outcome outcome_;
  bool complete_ = false;
};

}  // namespace

napi_value startStep(napi_env env, Arguments& arguments, std::shared_ptr<Inflater> inflater) {
  const Bytes input = arguments.bytes(1);
  const Bytes output = arguments.bytes(2);
  if (arguments.failed()) return nullptr;
  if (inflater->busy.exchange(true)) {
    napi_throw_error(env, "invalid", "the inflater is busy with another step");
    return nullptr;
  }
  return startOnLayerPool(env, std::make_unique<Step>(std::move(inflater), input, output),
               {arguments.value(1), arguments.value(2)});
}

}  // namespace thinfs
