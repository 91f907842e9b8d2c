// A file descriptor that is closed with its scope.
#pragma once

#include <unistd.h>

#include <utility>

namespace thinfs {

class Descriptor {
 public:
  explicit Descriptor(long number) : number_(static_cast<int>(number)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { reset(-1); }

  bool failed() const { return number_ < 0; }
  int number() const { return number_; }
  // The caller closes it from now on.
  int release() { return std::exchange(number_, -1); }
  void reset(int number) {
    if (number_ >= 0) close(number_);
    number_ = number;
  }

 private:
  int number_;
};

}  // namespace thinfs
