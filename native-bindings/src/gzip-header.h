// The header of one gzip member, RFC 1952 section 2.3, in any pieces. igzip has a parser too, but that
// of ISA-L 2.30 fails on a header checksum whose bytes come apart, and takes reserved flags.
#pragma once

#include <cstddef>
#include <cstdint>

#include "arguments.h"

namespace thinfs {

class GzipHeader {
 public:
  // Takes bytes up to the end of the header and says how many.
  size_t take(Bytes bytes);

  bool complete() const { return field_ == Field::end; }
  // What is wrong with the header; nullptr if nothing is.
  const char* problem() const { return problem_; }

 private:
  enum class Field { fixed, extraLength, extra, name, comment, checksum, end };

  void byte(uint8_t value);
  void fixedByte(uint8_t value);
  // Goes to `field`, or to the first one behind it that this header has.
  void enter(Field field);

  Field field_ = Field::fixed;
  uint32_t index_ = 0;  // of the next byte in its field
  uint32_t total_ = 0;
  uint8_t flags_ = 0;
  uint16_t number_ = 0;  // extraLength or checksum while it is read
  uint32_t crc_ = 0;     // of all bytes before the checksum
  const char* problem_ = nullptr;
};

}  // namespace thinfs
