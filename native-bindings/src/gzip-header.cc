#include "gzip-header.h"

#include <isa-l/crc.h>

namespace thinfs {
namespace {

constexpr uint8_t magic[] = {0x1f, 0x8b, 8};  // the third byte is the method: deflate
constexpr const char* magicProblems[] = {"it does not begin as gzip does",
                                         "a member's header is no gzip header",
                                         "a member is not compressed by deflate"};
constexpr uint32_t flagsAt = 3, fixedSize = 10;
constexpr uint8_t hasChecksum = 2, hasExtra = 4, hasName = 8, hasComment = 16, reserved = 0xe0;

// Names have no limit of their own: what follows could be endless.
constexpr uint32_t totalMax = 256 * 1024;

}  // namespace

size_t GzipHeader::take(Bytes bytes) {
  size_t at = 0;
  while (at < bytes.length && !complete() && problem_ == nullptr) byte(bytes.data[at++]);
  return at;
}

void GzipHeader::byte(uint8_t value) {
  if (++total_ > totalMax) problem_ = "a member's header is too long";
  if (field_ != Field::checksum) crc_ = crc32_gzip_refl(crc_, &value, 1);
  const uint32_t index = index_++;
  switch (field_) {
    case Field::fixed:
      return fixedByte(value);
    case Field::extraLength:
      number_ |= value << (8 * index);
      if (index == 1) enter(number_ > 0 ? Field::extra : Field::name);
      return;
    case Field::extra:
      if (index_ == number_) enter(Field::name);
      return;
    case Field::name:
      if (value == 0) enter(Field::comment);
      return;
    case Field::comment:
      if (value == 0) enter(Field::checksum);
      return;
    case Field::checksum:
      number_ |= value << (8 * index);
      if (index == 1 && number_ != (crc_ & 0xffff)) problem_ = "a member's header is damaged";
      if (index == 1) enter(Field::end);
      return;
    case Field::end:
      return;
  }
}

void GzipHeader::fixedByte(uint8_t value) {
  const uint32_t index = index_ - 1;
  if (index < sizeof magic && value != magic[index]) problem_ = magicProblems[index];
  if (index == flagsAt) flags_ = value;
  if (index == flagsAt && (value & reserved) != 0) problem_ = "a member's header has unknown flags";
  if (index_ == fixedSize) enter(Field::extraLength);
}

void GzipHeader::enter(Field field) {
  if (field == Field::extraLength && !(flags_ & hasExtra)) field = Field::name;
  if (field == Field::name && !(flags_ & hasName)) field = Field::comment;
  if (field == Field::comment && !(flags_ & hasComment)) field = Field::checksum;
  if (field == Field::checksum && !(flags_ & hasChecksum)) field = Field::end;
  field_ = field;
  index_ = 0;
  if (field != Field::extra) number_ = 0;
}

}  // namespace thinfs
